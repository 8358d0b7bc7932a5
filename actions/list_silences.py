from poundcake import alertmanager, settings
from poundcake.pack_action import PackAction


class ListSilences(PackAction):
    def run(self, state):
        return self.answer_of(alertmanager.list_silences, settings.from_config(self.config), state)
