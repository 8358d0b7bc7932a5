from poundcake.operators import notify
from poundcake.st2.action import PackAction


class Notify(PackAction):
    def run(self, message, event):
        return self.answer(notify.notify, self.stackstorm, message, event, self.settings)
