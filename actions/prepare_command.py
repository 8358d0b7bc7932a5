from poundcake import host_commands
from poundcake.st2.action import PackAction


class PrepareCommand(PackAction):
    def run(self, host, script, values, types):
        # A script comes from the pack and not from an alert, and must reach the shell as it is.
        return self.answer(
            host_commands.prepare,
            self.settings,
            host,
            script,
            values,
            types,
            safe=lambda answer: answer,
        )
