from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class ExportMappings(PackAction):
    def run(self, pack):
        # The YAML has templates in it, and no alert has a part in it.
        timeout = self.settings.remediation.mapping_timeout_seconds
        return self.answer(sync.export, self.stackstorm, pack, timeout, safe=dict)
