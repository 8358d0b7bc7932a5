from poundcake import queries
from poundcake.pack_action import PackAction


class GetAlert(PackAction):
    def run(self, fingerprint):
        return self.answer(queries.get_alert, fingerprint)
