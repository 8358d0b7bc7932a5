from poundcake import outbox, settings
from poundcake.pack_action import PackAction


class Track(PackAction):
    def run(self, batch_id):
        return outbox.track(self.stackstorm, batch_id, settings.from_config(self.config))
