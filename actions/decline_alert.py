from poundcake.operators import approval
from poundcake.st2.action import PackAction
from poundcake.views import chat


class DeclineAlert(PackAction):
    def run(self, reason, fingerprint, alertname, host, by, chat_user):
        def answer():
            roles, operator = self.settings.approval.roles, self.operator(by, chat_user)
            alert = (fingerprint, alertname, host)
            question = (self.stackstorm, roles, False, alert, reason, {})
            return approval.answer(*question, operator)

        return self.answer(answer, chat=chat.answered)
