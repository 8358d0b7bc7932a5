from poundcake.st2.action import PackAction
from poundcake.views import chat, queries


class ListMaintenance(PackAction):
    def run(self):
        return self.answer(queries.list_maintenance, self.stackstorm, chat=chat.maintenance)
