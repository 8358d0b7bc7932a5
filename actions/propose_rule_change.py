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
        change = (
            operation,
            resource,
            group,
            rule,
            expr,
            for_duration,
            severity,
            labels,
            annotations,
        )
        return self.answer(_propose, self.settings, change, reason, self.acting_person(by))


def _propose(settings, change, reason, by):
    return propose.propose(settings, rule_change.make(*change), reason, by)
