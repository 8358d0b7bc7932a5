from poundcake.st2.action import PackAction
from poundcake.upstream import alertmanager


class ListSilences(PackAction):
    def run(self, state):
        return self.answer(alertmanager.list_silences, self.settings, state)
