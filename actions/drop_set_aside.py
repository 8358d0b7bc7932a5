from poundcake.operators import set_aside
from poundcake.st2.action import PackAction


class DropSetAside(PackAction):
    def run(self, id):
        return self.answer(set_aside.drop, self.stackstorm, id)
