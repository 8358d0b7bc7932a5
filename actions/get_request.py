from poundcake.st2.action import PackAction
from poundcake.views import queries


class GetRequest(PackAction):
    def run(self, request_id):
        return self.answer(queries.get_request, self.stackstorm, request_id)
