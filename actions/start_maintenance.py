from poundcake.operators import controls
from poundcake.st2.action import PackAction


class StartMaintenance(PackAction):
    def run(self, matchers, duration, reason, by):
        window = (matchers, duration, reason, self.acting_person(by))
        return self.answer(controls.start_maintenance, self.stackstorm, *window)
