from poundcake.st2.action import PackAction
from poundcake.views import queries


class ListAlerts(PackAction):
    def run(self, state, alertname, severity, label, limit):
        return self.answer(queries.list_alerts, state, alertname, severity, label, limit)
