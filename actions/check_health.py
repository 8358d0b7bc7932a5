from poundcake import health
from poundcake.pack_action import PackAction


class CheckHealth(PackAction):
    def run(self):
        return self.answer(health.check_health, self.config)
