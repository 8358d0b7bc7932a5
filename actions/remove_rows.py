from poundcake.operators import removal
from poundcake.st2.action import PackAction


class RemoveRows(PackAction):
    def run(self, confirm):
        return self.answer(removal.remove_rows, self.stackstorm, confirm)
