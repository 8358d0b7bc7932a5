from poundcake.mappings import sync
from poundcake.st2.action import PackAction


class PreviewMappings(PackAction):
    def run(self, path, mappings, pack):
        # What it shows is full of templates, and no alert has a part in it.
        return self.answer(sync.preview, self.stackstorm, path, mappings, pack, safe=dict)
