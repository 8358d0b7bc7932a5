from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class ApplyMappings(PackAction):
    def run(self, path, mappings, pack):
        timeout = self.settings.remediation.mapping_timeout_seconds
        return self.answer(sync.apply, self.stackstorm, path, mappings, pack, timeout)
