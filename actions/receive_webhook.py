from poundcake.core import payload
from poundcake.inert import inert
from poundcake.st2 import inbox
from poundcake.st2.action import PackAction


class ReceiveWebhook(PackAction):
    def run(self, body):
        # to_json_string writes ASCII only, so these two characters stand for nothing else.
        text = body.replace("❴", "{").replace("‹", "<")
        try:
            document = payload.load_json(text)
            _, answer = inbox.accept(self.stackstorm, document, inbox.ST2_WEBHOOK)
        except payload.PayloadError as error:
            return False, {"status": "rejected", "error": inert(str(error))}
        return answer
