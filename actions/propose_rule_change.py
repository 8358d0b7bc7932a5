from poundcake import people, settings
from poundcake.alert_rules import edit
from poundcake.st2.action import PackAction


class ProposeRuleChange(PackAction):
    def run(
        self,
        operation,
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
        made = (operation, resource, group, rule, expr, for_duration)
        made += (severity, labels, annotations)
        return self.answer_of(edit.propose, found, made, reason, by)
