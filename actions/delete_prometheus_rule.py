from poundcake import by_hand, rule_commands, settings
from poundcake.pack_action import PackAction
from poundcake.rule_change import DELETE


class DeletePrometheusRule(PackAction):
    def run(self, resource, group, rule, severity, expected, reason, by):
        found = settings.from_config(self.config)
        by = by_hand.operator(self.action_service, by)
        made = (DELETE, resource, group, rule, "", "", severity)
        return self.answer_of(rule_commands.change, found, made, expected, reason, by)
