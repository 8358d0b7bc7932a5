from poundcake.st2.action import PackAction
from poundcake.views import chat, queries


class ListAlerts(PackAction):
    def run(self, state, alertname, severity, label, limit, wide):
        filters = (state, alertname, severity, label)
        alerts = (queries.list_alerts, self.stackstorm, *filters, limit, wide)
        return self.answer(*alerts, chat=chat.alerts)
