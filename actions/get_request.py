from poundcake.st2.action import PackAction
from poundcake.views import chat, queries


class GetRequest(PackAction):
    def run(self, request_id):
        request = (queries.get_request, self.stackstorm, request_id)
        return self.answer(*request, chat=chat.request)
