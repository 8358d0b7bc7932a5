from poundcake import settings
from poundcake.st2.action import PackAction
from poundcake.upstream import rules


class ListPrometheusRules(PackAction):
    def run(self, state, kind, group, name, label, limit):
        found = settings.from_config(self.config)
        asked = (state, kind, group, name, label, limit)
        return self.answer_of(rules.list_rules, found, *asked)
