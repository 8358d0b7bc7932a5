from poundcake import people, settings
from poundcake.st2.action import PackAction
from poundcake.upstream import alertmanager


class CreateSilence(PackAction):
    def run(self, matchers, labels, duration, reason, by):
        by = people.operator(self.action_service, by) or "poundcake"
        found = settings.from_config(self.config)
        create = alertmanager.create_silence
        return self.answer_of(create, found, matchers, labels, duration, reason, by)
