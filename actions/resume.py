from poundcake import by_hand, controls
from poundcake.pack_action import PackAction


class Resume(PackAction):
    def run(self, alertname, by):
        by = by_hand.operator(self.action_service, by)
        return self.answer(controls.resume, alertname, by)
