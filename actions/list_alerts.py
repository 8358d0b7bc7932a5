from poundcake import queries
from poundcake.pack_action import PackAction


class ListAlerts(PackAction):
    def run(self, state, alertname, severity, label, limit):
        return self.answer(queries.list_alerts, state, alertname, severity, label, limit)
