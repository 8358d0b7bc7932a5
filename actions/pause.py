from poundcake import people
from poundcake.operators import controls
from poundcake.st2.action import PackAction


class Pause(PackAction):
    def run(self, reason, alertname, by):
        by = people.operator(self.action_service, by)
        return self.answer(controls.pause, alertname, reason, by)
