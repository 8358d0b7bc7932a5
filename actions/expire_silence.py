from poundcake.operators import silences
from poundcake.st2.action import PackAction


class ExpireSilence(PackAction):
    def run(self, id):
        return self.answer(silences.expire_silence, self.settings, id)
