from poundcake.alert_rules import edit, rule_file
from poundcake.alert_rules.change import CREATE, make
from poundcake.st2.action import PackAction


class CreatePrometheusRule(PackAction):
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
        reason,
        by,
    ):
        def create(by):
            given = (expr, for_duration, severity, labels, annotations)
            fields = rule_file.filled(path, rules, group, rule, *given)
            return edit.change(
                self.settings, make(CREATE, resource, group, rule, **fields), "", reason, by
            )

        return self.act(create, by=by)
