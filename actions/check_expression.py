from poundcake import prometheus, settings
from poundcake.pack_action import PackAction


class CheckExpression(PackAction):
    def run(self, alert, wait_seconds):
        found = settings.from_config(self.config)
        return self.answer_of(prometheus.holds, found, alert, wait_seconds)
