from poundcake.st2.action import PackAction
from poundcake.views import queries


class ListRequests(PackAction):
    def run(self, limit, wide):
        return self.answer(queries.list_requests, self.stackstorm, limit, wide)
