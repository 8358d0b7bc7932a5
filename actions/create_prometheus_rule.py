from poundcake.alert_rules import edit
from poundcake.alert_rules.change import CREATE, make
from poundcake.st2.action import PackAction


class CreatePrometheusRule(PackAction):
    def run(
        self, resource, group, rule, expr, for_duration, severity, labels, annotations, reason, by
    ):
        def create():
            texts = (resource, group, rule, expr, for_duration, severity)
            wanted = make(CREATE, *texts, labels, annotations)
            return edit.change(self.settings, wanted, "", reason, self.acting_person(by))

        return self.answer(create)
