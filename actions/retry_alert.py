from poundcake.operators import commands
from poundcake.st2.action import PackAction
from poundcake.views import chat


class RetryAlert(PackAction):
    def run(self, reason, fingerprint, alertname, host, by, chat_user):
        person = {"by": by, "chat_user": chat_user}
        alert = (fingerprint, alertname, host)
        command = (commands.command, self.stackstorm, commands.RETRY, alert, reason)
        return self.act(*command, **person, chat=chat.retried)
