from poundcake.st2.action import PackAction
from poundcake.views import health


class CheckHealth(PackAction):
    def run(self):
        return self.answer(health.check_health, self.stackstorm, self.config)
