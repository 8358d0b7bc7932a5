import contextlib
import signal

from poundcake.errors import ExpectedError
from poundcake.operators import rebuild
from poundcake.st2 import outbox
from poundcake.st2.action import PackAction

# An action has one retry policy in StackStorm, for failures or for timeouts: this one is for
# failures. So a batch that takes too long fails, long before the runner's timeout of 600 s.
LIMIT_SECONDS = 120


class Track(PackAction):
    def run(self, batch_id="", since=""):
        return self.answer(_track, self.stackstorm, batch_id, since, self.settings)


def _track(stackstorm, batch_id, since, settings):
    if bool(batch_id) == bool(since):
        remedy = "For example, since=24h rebuilds the rows of the last day"
        raise ExpectedError("batch_id, since", "give one of them", remedy=remedy)
    if since:
        return rebuild.rebuild(stackstorm, since, settings)
    with _limit(LIMIT_SECONDS):
        return outbox.track(stackstorm, batch_id, settings)


@contextlib.contextmanager
def _limit(seconds):
    """Raise TimeoutError in the block when it takes longer."""

    def stop(signum, frame):
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
