from poundcake import messages
from st2common.runners.base_action import Action


class LogNotification(Action):
    def run(self, message):
        message = messages.message(message)
        self.logger.warning("notification: %s", message)
        note = "nobody was notified; set notify_action in the config of poundcake"
        return {"message": message, "note": note}
