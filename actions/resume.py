from poundcake.operators import controls
from poundcake.st2.action import PackAction
from poundcake.views import chat


class Resume(PackAction):
    def run(self, alertname, by, chat_user):
        person = {"by": by, "chat_user": chat_user}
        return self.act(controls.resume, self.stackstorm, alertname, **person, chat=chat.resumed)
