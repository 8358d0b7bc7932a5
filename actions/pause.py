from poundcake.operators import controls
from poundcake.st2.action import PackAction
from poundcake.views import chat


class Pause(PackAction):
    def run(self, reason, alertname, by, chat_user):
        person = {"by": by, "chat_user": chat_user}
        pause = (controls.pause, self.stackstorm, alertname, reason)
        return self.act(*pause, **person, chat=chat.paused)
