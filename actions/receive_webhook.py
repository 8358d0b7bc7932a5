from poundcake.core import payload
from poundcake.inert import inert, original
from poundcake.settings import from_config
from poundcake.st2 import inbox
from poundcake.st2.action import PackAction


class ReceiveWebhook(PackAction):
    def run(self, body):
        try:
            # The rule writes ASCII JSON, so a look-alike in it always stands for the original.
            document = payload.load_json(original(body))
            # A wrong setting elsewhere is no reason to lose a notification.
            config = {"max_alerts": (self.config or {}).get("max_alerts")}
            most = from_config(config).listener.max_alerts
            source = inbox.ST2_WEBHOOK
            _, answer = inbox.accept(self.stackstorm, document, source, max_alerts=most)
        except payload.PayloadError as error:
            return False, {"status": "rejected", "error": inert(str(error))}
        return answer
