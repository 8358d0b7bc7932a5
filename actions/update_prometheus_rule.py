from poundcake.alert_rules import edit, rule_file
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
        path,
        rules,
        expected,
        reason,
        by,
    ):
        def update(by):
            given = (expr, for_duration, severity, labels, annotations)
            fields = rule_file.filled(path, rules, group, rule, *given)
            return edit.change(
                self.settings, make(UPDATE, resource, group, rule, **fields), expected, reason, by
            )

        return self.act(update, by=by)
