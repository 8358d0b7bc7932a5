from poundcake import settings
from poundcake.st2.action import PackAction
from poundcake.upstream import alertmanager


class ExpireSilence(PackAction):
    def run(self, id):
        return self.answer_of(alertmanager.expire_silence, settings.from_config(self.config), id)
