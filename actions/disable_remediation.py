from poundcake.operators import remediations
from poundcake.st2.action import PackAction


class DisableRemediation(PackAction):
    def run(self, name, reason, by):
        return self.act(remediations.switch, self.stackstorm, name, False, reason, by=by)
