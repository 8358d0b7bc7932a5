from poundcake.st2.action import PackAction
from poundcake.views import chat, queries


class GetStats(PackAction):
    def run(self):
        return self.answer(queries.get_stats, self.stackstorm, chat=chat.stats)
