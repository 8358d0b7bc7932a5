from poundcake.operators import silences
from poundcake.st2.action import PackAction


class CreateSilence(PackAction):
    def run(self, matchers, labels, duration, reason, by):
        person = self.acting_person(by) or "poundcake"
        silence = (matchers, labels, duration, reason, person)
        return self.answer(silences.create_silence, self.settings, *silence)
