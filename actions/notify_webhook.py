from poundcake.operators import notify
from poundcake.st2.action import PackAction


class NotifyWebhook(PackAction):
    def run(self, message, url_key, field, fields):
        read = self.stackstorm.get_secret
        return self.answer(lambda: {"status": notify.post(read, message, url_key, field, fields)})
