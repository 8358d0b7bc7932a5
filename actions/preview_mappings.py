from poundcake import mapping_sync
from poundcake.pack_action import PackAction


class PreviewMappings(PackAction):
    def run(self, path, mappings, pack):
        # What it shows is full of templates, and no alert has a part in it.
        return self.answer(mapping_sync.preview, path, mappings, pack, safe=dict)
