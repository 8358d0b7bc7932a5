from poundcake.st2.action import PackAction
from poundcake.views import chat, health


class CheckHealth(PackAction):
    def run(self):
        check = (health.check_health, self.stackstorm, self.config)
        return self.answer(*check, chat=chat.health)
