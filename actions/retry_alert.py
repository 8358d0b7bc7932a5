from poundcake import people
from poundcake.operators import commands
from poundcake.st2.action import PackAction


class RetryAlert(PackAction):
    def run(self, fingerprint, reason, by):
        by = people.operator(self.action_service, by)
        return self.answer(commands.command, commands.RETRY, fingerprint, reason, by)
