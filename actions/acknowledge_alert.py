from poundcake import by_hand
from poundcake.pack_action import PackAction


class AcknowledgeAlert(PackAction):
    def run(self, fingerprint, reason, by):
        by = by_hand.operator(self.action_service, by)
        return self.answer(by_hand.command, by_hand.ACKNOWLEDGE, fingerprint, reason, by)
