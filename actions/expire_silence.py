from poundcake import alertmanager, settings
from poundcake.pack_action import PackAction


class ExpireSilence(PackAction):
    def run(self, id):
        return self.answer_of(alertmanager.expire_silence, settings.from_config(self.config), id)
