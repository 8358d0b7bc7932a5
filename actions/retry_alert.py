from poundcake.operators import commands
from poundcake.st2.action import PackAction


class RetryAlert(PackAction):
    def run(self, fingerprint, reason, by):
        command = (commands.RETRY, fingerprint, reason, self.acting_person(by))
        return self.answer(commands.command, self.stackstorm, *command)
