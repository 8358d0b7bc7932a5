from poundcake.operators import controls
from poundcake.st2.action import PackAction
from poundcake.views import chat


class EndMaintenance(PackAction):
    def run(self, id, by, chat_user):
        person = {"by": by, "chat_user": chat_user}
        end = (controls.end_maintenance, self.stackstorm, id)
        return self.act(*end, **person, chat=chat.maintenance_ended)
