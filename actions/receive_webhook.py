from poundcake.core import payload
from poundcake.inert import inert, original
from poundcake.st2 import inbox
from poundcake.st2.action import PackAction


class ReceiveWebhook(PackAction):
    def run(self, body):
        try:
            # The rule writes ASCII JSON, so a look-alike in it always stands for the original.
            document = payload.load_json(original(body))
            _, answer = inbox.accept(self.stackstorm, document, inbox.ST2_WEBHOOK)
        except payload.PayloadError as error:
            return False, {"status": "rejected", "error": inert(str(error))}
        return answer
