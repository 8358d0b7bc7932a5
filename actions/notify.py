from poundcake import notify, settings
from poundcake.pack_action import PackAction


class Notify(PackAction):
    def run(self, message):
        return self.answer(notify.notify, message, settings.from_config(self.config))
