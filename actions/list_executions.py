from poundcake import queries
from poundcake.pack_action import PackAction


class ListExecutions(PackAction):
    def run(self, request_id, fingerprint, status, limit):
        return self.answer(queries.list_executions, request_id, fingerprint, status, limit)
