from poundcake.alert_rules import edit
from poundcake.alert_rules.change import DELETE, make
from poundcake.st2.action import PackAction


class DeletePrometheusRule(PackAction):
    def run(self, resource, group, rule, severity, expected, reason, by):
        def delete(by):
            change = make(DELETE, resource, group, rule, severity=severity)
            return edit.change(self.settings, change, expected, reason, by)

        return self.act(delete, by=by)
