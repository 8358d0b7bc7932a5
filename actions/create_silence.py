from poundcake.operators import silences
from poundcake.st2.action import PackAction


class CreateSilence(PackAction):
    def run(self, matchers, labels, duration, reason, by):
        silence = (silences.create_silence, self.settings, matchers, labels, duration, reason)
        return self.act(*silence, by=by)
