from poundcake.st2.action import PackAction
from poundcake.views import queries


class GetAlert(PackAction):
    def run(self, fingerprint):
        return self.answer(queries.get_alert, self.stackstorm, fingerprint)
