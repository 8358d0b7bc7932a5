from poundcake.alert_rules import edit
from poundcake.alert_rules.change import DELETE, make
from poundcake.st2.action import PackAction


class DeletePrometheusRule(PackAction):
    def run(self, resource, group, rule, severity, expected, reason, by):
        def delete():
            wanted = make(DELETE, resource, group, rule, severity=severity)
            return edit.change(self.settings, wanted, expected, reason, self.acting_person(by))

        return self.answer(delete)
