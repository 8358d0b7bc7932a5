from poundcake.operators import set_aside
from poundcake.st2.action import PackAction


class TakeUpSetAside(PackAction):
    def run(self, id):
        return self.answer(set_aside.take_up, self.stackstorm, id, self.settings)
