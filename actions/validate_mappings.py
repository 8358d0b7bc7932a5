from poundcake import mapping_sync
from poundcake.pack_action import PackAction


class ValidateMappings(PackAction):
    def run(self, path, mappings, pack):
        return self.answer(mapping_sync.validate, path, mappings, pack)
