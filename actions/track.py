from poundcake import outbox, rebuild, settings
from poundcake.pack_action import PackAction
from poundcake.queries import QueryError


class Track(PackAction):
    def run(self, batch_id="", since=""):
        return self.answer(_track, batch_id, since, settings.from_config(self.config))


def _track(stackstorm, batch_id, since, found):
    if bool(batch_id) == bool(since):
        raise QueryError(
            "batch_id, since: give one of them; since=24h rebuilds the rows of the last day"
        )
    if since:
        return rebuild.rebuild(stackstorm, since, found)
    return outbox.track(stackstorm, batch_id, found)
