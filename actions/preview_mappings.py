from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class PreviewMappings(PackAction):
    def run(self, path, mappings, pack):
        # What it shows is full of templates, and no alert has a part in it.
        timeout = self.settings.remediation.mapping_timeout_seconds
        return self.answer(sync.preview, self.stackstorm, path, mappings, pack, timeout, safe=dict)
