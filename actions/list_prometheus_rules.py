from poundcake import prometheus_rules, settings
from poundcake.pack_action import PackAction


class ListPrometheusRules(PackAction):
    def run(self, state, kind, group, name, label, limit):
        found = settings.from_config(self.config)
        asked = (state, kind, group, name, label, limit)
        return self.answer_of(prometheus_rules.list_rules, found, *asked)
