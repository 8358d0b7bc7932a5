from poundcake import people
from poundcake.operators import controls
from poundcake.st2.action import PackAction


class Resume(PackAction):
    def run(self, alertname, by):
        by = people.operator(self.action_service, by)
        return self.answer(controls.resume, alertname, by)
