from poundcake.st2.action import PackAction
from poundcake.views import chat, queries


class GetAlert(PackAction):
    def run(self, fingerprint, alertname, host):
        alert = (fingerprint, alertname, host)
        return self.answer(queries.get_alert, self.stackstorm, *alert, chat=chat.alert)
