from poundcake import mapping_sync
from poundcake.pack_action import PackAction


class ExportMappings(PackAction):
    def run(self, pack):
        # The YAML has templates in it, and no alert has a part in it.
        return self.answer(mapping_sync.export, pack, safe=dict)
