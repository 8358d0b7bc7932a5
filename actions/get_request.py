from poundcake import queries
from poundcake.pack_action import PackAction


class GetRequest(PackAction):
    def run(self, request_id):
        return self.answer(queries.get_request, request_id)
