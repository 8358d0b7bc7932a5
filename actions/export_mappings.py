from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class ExportMappings(PackAction):
    def run(self, pack):
        # The YAML has templates in it, and no alert has a part in it.
        return self.answer(sync.export, self.stackstorm, pack, safe=dict)
