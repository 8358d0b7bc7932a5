from poundcake.st2.action import PackAction
from poundcake.upstream import prometheus


class CheckExpression(PackAction):
    def run(self, alert, wait_seconds):
        return self.answer(prometheus.holds, self.settings, alert, wait_seconds)
