from poundcake.alert_rules import edit
from poundcake.st2.action import PackAction


class GetPrometheusRule(PackAction):
    def run(self, resource, group, rule, severity):
        return self.answer(edit.read, self.settings, resource, group, rule, severity)
