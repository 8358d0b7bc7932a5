from poundcake.alert_rules import edit
from poundcake.alert_rules.change import CREATE, make
from poundcake.st2.action import PackAction


class CreatePrometheusRule(PackAction):
    def run(
        self, resource, group, rule, expr, for_duration, severity, labels, annotations, reason, by
    ):
        def create(by):
            texts = (resource, group, rule, expr, for_duration, severity)
            change = make(CREATE, *texts, labels, annotations)
            return edit.change(self.settings, change, "", reason, by)

        return self.act(create, by=by)
