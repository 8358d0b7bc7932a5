from poundcake.alert_rules import edit
from poundcake.alert_rules.change import CREATE
from poundcake.st2.action import PackAction


class CreatePrometheusRule(PackAction):
    def run(
        self, resource, group, rule, expr, for_duration, severity, labels, annotations, reason, by
    ):
        change = (CREATE, resource, group, rule, expr, for_duration, severity, labels, annotations)
        person = self.acting_person(by)
        return self.answer(edit.change, self.settings, change, "", reason, person)
