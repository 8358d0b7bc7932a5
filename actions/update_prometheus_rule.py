from poundcake.alert_rules import edit
from poundcake.alert_rules.change import UPDATE, make
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
        def update(by):
            texts = (resource, group, rule, expr, for_duration, severity)
            change = make(UPDATE, *texts, labels, annotations)
            return edit.change(self.settings, change, expected, reason, by)

        return self.act(update, by=by)
