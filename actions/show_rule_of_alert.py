from poundcake import settings
from poundcake.alert_rules import origin
from poundcake.st2.action import PackAction


class ShowRuleOfAlert(PackAction):
    def run(self, fingerprint, generator_url, labels):
        found = settings.from_config(self.config)
        asked = (found, self.stackstorm, fingerprint, generator_url, labels)
        return self.answer_of(origin.show, *asked)
