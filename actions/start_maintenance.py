from poundcake.operators import controls
from poundcake.st2.action import PackAction
from poundcake.views import chat


class StartMaintenance(PackAction):
    def run(self, matchers, duration, reason, by, chat_user):
        person = {"by": by, "chat_user": chat_user}
        window = (controls.start_maintenance, self.stackstorm, matchers, duration, reason)
        return self.act(*window, **person, chat=chat.maintenance_started)
