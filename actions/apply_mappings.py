from poundcake import mapping_sync
from poundcake.pack_action import PackAction


class ApplyMappings(PackAction):
    def run(self, path, mappings, pack):
        return self.answer(mapping_sync.apply, path, mappings, pack)
