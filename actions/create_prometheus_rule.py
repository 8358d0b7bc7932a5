from poundcake.alert_rules import edit
from poundcake.alert_rules.change import CREATE
from poundcake.st2.action import PackAction


class CreatePrometheusRule(PackAction):
    def run(
        self, resource, group, rule, expr, for_duration, severity, labels, annotations, reason, by
    ):
        change = (CREATE, resource, group, rule, expr, for_duration, severity, labels, annotations)
        return self.act(edit.change, self.settings, change, "", reason, by=by)
