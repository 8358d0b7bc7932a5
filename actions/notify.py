from poundcake.operators import notify
from poundcake.st2.action import PackAction


class Notify(PackAction):
    def run(self, message):
        return self.answer(notify.notify, self.stackstorm, message, self.settings)
