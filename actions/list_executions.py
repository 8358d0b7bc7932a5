from poundcake.st2.action import PackAction
from poundcake.views import queries


class ListExecutions(PackAction):
    def run(self, request_id, fingerprint, status, severity, since, until, limit, wide):
        filters = (request_id, fingerprint, status, severity, since, until)
        return self.answer(queries.list_executions, self.stackstorm, *filters, limit, wide)
