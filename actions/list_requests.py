from poundcake import queries
from poundcake.pack_action import PackAction


class ListRequests(PackAction):
    def run(self, limit):
        return self.answer(queries.list_requests, limit)
