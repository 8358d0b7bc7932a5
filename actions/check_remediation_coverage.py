from poundcake.alert_rules import coverage
from poundcake.st2.action import PackAction


class CheckRemediationCoverage(PackAction):
    def run(self):
        return self.answer(coverage.check, self.settings, self.stackstorm)
