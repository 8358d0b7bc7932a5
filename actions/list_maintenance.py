from poundcake import controls
from poundcake.pack_action import PackAction


class ListMaintenance(PackAction):
    def run(self):
        return self.answer(controls.list_maintenance)
