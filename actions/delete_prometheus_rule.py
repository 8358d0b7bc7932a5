from poundcake import people, settings
from poundcake.alert_rules import edit
from poundcake.alert_rules.change import DELETE
from poundcake.st2.action import PackAction


class DeletePrometheusRule(PackAction):
    def run(self, resource, group, rule, severity, expected, reason, by):
        found = settings.from_config(self.config)
        by = people.operator(self.action_service, by)
        made = (DELETE, resource, group, rule, "", "", severity)
        return self.answer_of(edit.change, found, made, expected, reason, by)
