from poundcake import people
from poundcake.operators import controls
from poundcake.st2.action import PackAction


class EndMaintenance(PackAction):
    def run(self, id, by):
        by = people.operator(self.action_service, by)
        return self.answer(controls.end_maintenance, id, by)
