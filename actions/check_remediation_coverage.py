from poundcake import settings
from poundcake.alert_rules import coverage
from poundcake.st2.action import PackAction


class CheckRemediationCoverage(PackAction):
    def run(self):
        found = settings.from_config(self.config)
        return self.answer_of(coverage.check, found, self.stackstorm)
