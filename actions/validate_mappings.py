from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class ValidateMappings(PackAction):
    def run(self, path, mappings, pack):
        return self.answer(sync.validate, self.stackstorm, path, mappings, pack)
