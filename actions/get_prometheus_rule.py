from poundcake import settings
from poundcake.alert_rules import edit
from poundcake.st2.action import PackAction


class GetPrometheusRule(PackAction):
    def run(self, resource, group, rule, severity):
        found = settings.from_config(self.config)
        return self.answer_of(edit.read, found, resource, group, rule, severity)
