from poundcake import by_hand, gitops, rule_change, settings
from poundcake.pack_action import PackAction


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
        by = by_hand.operator(self.action_service, by)
        what = (expr, for_duration, severity, labels, annotations)
        return self.answer_of(
            self._propose, found, (operation, resource, group, rule, *what), reason, by
        )

    @staticmethod
    def _propose(found, change, reason, by):
        return gitops.propose(found, rule_change.make(*change), reason, by)
