from poundcake.alert_rules import edit
from poundcake.alert_rules.change import DELETE
from poundcake.st2.action import PackAction


class DeletePrometheusRule(PackAction):
    def run(self, resource, group, rule, severity, expected, reason, by):
        change = (DELETE, resource, group, rule, "", "", severity)
        return self.act(edit.change, self.settings, change, expected, reason, by=by)
