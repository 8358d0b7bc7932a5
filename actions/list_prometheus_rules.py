from poundcake.st2.action import PackAction
from poundcake.upstream import rules
from poundcake.views import terminal


class ListPrometheusRules(PackAction):
    def run(self, state, kind, group, name, label, limit, wide):
        def listed():
            found = rules.list_rules(self.settings, state, kind, group, name, label, limit)
            return dict(found, table=terminal.alert_rules(found, wide))

        return self.answer(listed)
