from poundcake.st2.action import PackAction
from poundcake.views import queries


class ListExecutions(PackAction):
    def run(self, request_id, fingerprint, status, limit):
        return self.answer(queries.list_executions, request_id, fingerprint, status, limit)
