from poundcake import people
from poundcake.operators import controls
from poundcake.st2.action import PackAction


class StartMaintenance(PackAction):
    def run(self, matchers, duration, reason, by):
        by = people.operator(self.action_service, by)
        return self.answer(controls.start_maintenance, matchers, duration, reason, by)
