from poundcake.operators import controls
from poundcake.st2.action import PackAction


class EndMaintenance(PackAction):
    def run(self, id, by):
        return self.answer(controls.end_maintenance, self.stackstorm, id, self.acting_person(by))
