from poundcake import by_hand, controls
from poundcake.pack_action import PackAction


class EndMaintenance(PackAction):
    def run(self, id, by):
        by = by_hand.operator(self.action_service, by)
        return self.answer(controls.end_maintenance, id, by)
