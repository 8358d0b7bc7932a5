from poundcake import people, settings
from poundcake.alert_rules import edit
from poundcake.alert_rules.change import UPDATE
from poundcake.st2.action import PackAction


class UpdatePrometheusRule(PackAction):
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
        expected,
        reason,
        by,
    ):
        found = settings.from_config(self.config)
        by = people.operator(self.action_service, by)
        made = (UPDATE, resource, group, rule, expr, for_duration, severity, labels, annotations)
        return self.answer_of(edit.change, found, made, expected, reason, by)
