from poundcake import by_hand, rule_commands, settings
from poundcake.pack_action import PackAction
from poundcake.rule_change import UPDATE


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
        by = by_hand.operator(self.action_service, by)
        made = (UPDATE, resource, group, rule, expr, for_duration, severity, labels, annotations)
        return self.answer_of(rule_commands.change, found, made, expected, reason, by)
