from poundcake import settings
from poundcake.st2.action import PackAction
from poundcake.upstream import alertmanager


class ListSilences(PackAction):
    def run(self, state):
        return self.answer_of(alertmanager.list_silences, settings.from_config(self.config), state)
