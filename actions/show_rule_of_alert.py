from poundcake.alert_rules import origin
from poundcake.st2.action import PackAction


class ShowRuleOfAlert(PackAction):
    def run(self, fingerprint, generator_url, labels):
        alert = (fingerprint, generator_url, labels)
        return self.answer(origin.show, self.settings, self.stackstorm, *alert)
