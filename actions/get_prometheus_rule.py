from poundcake import rule_commands, settings
from poundcake.pack_action import PackAction


class GetPrometheusRule(PackAction):
    def run(self, resource, group, rule, severity):
        found = settings.from_config(self.config)
        return self.answer_of(rule_commands.read, found, resource, group, rule, severity)
