from poundcake.st2.action import PackAction
from poundcake.upstream import alertmanager


class CreateSilence(PackAction):
    def run(self, matchers, labels, duration, reason, by):
        person = self.acting_person(by) or "poundcake"
        silence = (matchers, labels, duration, reason, person)
        return self.answer(alertmanager.create_silence, self.settings, *silence)
