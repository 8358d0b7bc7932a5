from poundcake.mappings import values
from poundcake.st2.action import PackAction


class CheckValues(PackAction):
    def run(self, steps):
        return self.answer(values.check, steps, self.settings)
