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
        made = (operation, resource, group, rule, expr, for_duration)
        made += (severity, labels, annotations)
        return self.act(edit.propose, self.settings, made, reason, by=by)
