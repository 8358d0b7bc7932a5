from poundcake.alert_rules import apply
from poundcake.st2.action import PackAction


class ApplyPrometheusRules(PackAction):
    def run(self, path, rules, resource, owner, prune, expected, reason, by):
        wanted = (path, rules, resource, owner, prune, expected, reason)
        return self.act(apply.apply, self.settings, *wanted, by=by)
