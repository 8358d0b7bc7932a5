from poundcake.st2.action import PackAction
from poundcake.upstream import alertmanager


class ExpireSilence(PackAction):
    def run(self, id):
        return self.answer(alertmanager.expire_silence, self.settings, id)
