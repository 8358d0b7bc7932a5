from poundcake import by_hand, controls
from poundcake.pack_action import PackAction


class StartMaintenance(PackAction):
    def run(self, matchers, duration, reason, by):
        by = by_hand.operator(self.action_service, by)
        return self.answer(controls.start_maintenance, matchers, duration, reason, by)
