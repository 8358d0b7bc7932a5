from poundcake import people, settings
from poundcake.alert_rules import edit
from poundcake.alert_rules.change import CREATE
from poundcake.st2.action import PackAction


class CreatePrometheusRule(PackAction):
    def run(
        self,
        resource,
        group,
        rule,
        expr,
        for_duration,
        severity,
        labels,
        annotations,
        reason,
        by,
    ):
        found = settings.from_config(self.config)
        by = people.operator(self.action_service, by)
        made = (CREATE, resource, group, rule, expr, for_duration, severity, labels, annotations)
        return self.answer_of(edit.change, found, made, "", reason, by)
