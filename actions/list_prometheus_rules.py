from poundcake.st2.action import PackAction
from poundcake.upstream import rules


class ListPrometheusRules(PackAction):
    def run(self, state, kind, group, name, label, limit):
        filters = (state, kind, group, name, label)
        return self.answer(rules.list_rules, self.settings, *filters, limit)
