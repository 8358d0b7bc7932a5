from poundcake import settings
from poundcake.alert_rules import apply
from poundcake.st2.action import PackAction


class ApplyPrometheusRules(PackAction):
    def run(self, path, rules, resource, owner, prune, expected):
        found = settings.from_config(self.config)
        asked = (path, rules, resource, owner, prune, expected)
        return self.answer_of(apply.apply, found, *asked)
