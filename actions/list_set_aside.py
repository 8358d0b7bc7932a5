from poundcake.st2.action import PackAction
from poundcake.views import queries


class ListSetAside(PackAction):
    def run(self):
        return self.answer(queries.list_set_aside, self.stackstorm)
