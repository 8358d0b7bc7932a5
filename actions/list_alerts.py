from poundcake.st2.action import PackAction
from poundcake.views import queries


class ListAlerts(PackAction):
    def run(self, state, alertname, severity, label, limit):
        filters = (state, alertname, severity, label)
        return self.answer(queries.list_alerts, self.stackstorm, *filters, limit)
