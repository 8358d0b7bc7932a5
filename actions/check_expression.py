from poundcake import settings
from poundcake.st2.action import PackAction
from poundcake.upstream import prometheus


class CheckExpression(PackAction):
    def run(self, alert, wait_seconds):
        found = settings.from_config(self.config)
        return self.answer_of(prometheus.holds, found, alert, wait_seconds)
