from poundcake import rule_apply, settings
from poundcake.pack_action import PackAction


class ApplyPrometheusRules(PackAction):
    def run(self, path, rules, resource, owner, prune, expected):
        found = settings.from_config(self.config)
        asked = (path, rules, resource, owner, prune, expected)
        return self.answer_of(rule_apply.apply, found, *asked)
