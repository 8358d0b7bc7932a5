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
        change = (UPDATE, resource, group, rule, expr, for_duration, severity, labels, annotations)
        return self.act(edit.change, self.settings, change, expected, reason, by=by)
