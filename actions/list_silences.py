from poundcake.operators import silences
from poundcake.st2.action import PackAction


class ListSilences(PackAction):
    def run(self, state):
        return self.answer(silences.list_silences, self.settings, state)
