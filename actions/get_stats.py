from poundcake import queries
from poundcake.pack_action import PackAction


class GetStats(PackAction):
    def run(self):
        return self.answer(queries.get_stats)
