from poundcake import alertmanager, by_hand, settings
from poundcake.pack_action import PackAction


class CreateSilence(PackAction):
    def run(self, matchers, labels, duration, reason, by):
        by = by_hand.operator(self.action_service, by) or "poundcake"
        found = settings.from_config(self.config)
        create = alertmanager.create_silence
        return self.answer_of(create, found, matchers, labels, duration, reason, by)
