from poundcake.alert_rules.change import make
from poundcake.alert_rules.git import propose as pull_requests
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
        def propose(by):
            texts = (resource, group, rule, expr, for_duration, severity)
            change = make(operation, *texts, labels, annotations)
            return pull_requests.propose(self.settings, change, reason, by)

        return self.act(propose, by=by)
