from poundcake import people, settings
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules.git import propose
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
        what = (expr, for_duration, severity, labels, annotations)
        return self.answer_of(
            self._propose, found, (operation, resource, group, rule, *what), reason, by
        )

    @staticmethod
    def _propose(found, change, reason, by):
        return propose.propose(found, rule_change.make(*change), reason, by)
