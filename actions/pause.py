from poundcake.operators import controls
from poundcake.st2.action import PackAction


class Pause(PackAction):
    def run(self, reason, alertname, by):
        person = self.acting_person(by)
        return self.answer(controls.pause, self.stackstorm, alertname, reason, person)
