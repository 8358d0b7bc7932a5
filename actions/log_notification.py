from st2common.runners.base_action import Action


class LogNotification(Action):
    def run(self, message):
        self.logger.warning("notification: %s", message)
        note = "nobody was notified; set notify_action in the config of poundcake"
        return {"message": message, "note": note}
