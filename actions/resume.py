from poundcake.operators import controls
from poundcake.st2.action import PackAction


class Resume(PackAction):
    def run(self, alertname, by):
        return self.answer(controls.resume, self.stackstorm, alertname, self.acting_person(by))
