from poundcake import by_hand, controls
from poundcake.pack_action import PackAction


class Pause(PackAction):
    def run(self, reason, alertname, by):
        by = by_hand.operator(self.action_service, by)
        return self.answer(controls.pause, alertname, reason, by)
