from poundcake import alert_rule, settings
from poundcake.pack_action import PackAction


class ShowRuleOfAlert(PackAction):
    def run(self, fingerprint, generator_url, labels):
        found = settings.from_config(self.config)
        asked = (found, self.stackstorm, fingerprint, generator_url, labels)
        return self.answer_of(alert_rule.show, *asked)
