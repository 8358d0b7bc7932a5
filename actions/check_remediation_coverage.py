from poundcake import coverage, settings
from poundcake.pack_action import PackAction


class CheckRemediationCoverage(PackAction):
    def run(self):
        found = settings.from_config(self.config)
        return self.answer_of(coverage.check, found, self.stackstorm)
