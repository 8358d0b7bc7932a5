from poundcake.alert_rules import apply
from poundcake.st2.action import PackAction


class ApplyPrometheusRules(PackAction):
    def run(self, path, rules, resource, owner, prune, expected):
        wanted = (path, rules, resource, owner, prune, expected)
        return self.answer(apply.apply, self.settings, *wanted)
