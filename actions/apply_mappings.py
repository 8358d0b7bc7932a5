from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class ApplyMappings(PackAction):
    def run(self, path, mappings, pack):
        return self.answer(sync.apply, self.stackstorm, path, mappings, pack)
