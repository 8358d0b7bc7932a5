"""core.pause: wait."""

import time

from st2common.runners.base_action import Action


class PauseAction(Action):
    """Sleep `max_pause` seconds."""

    def run(self, max_pause):
        """Return when the time is over."""
        time.sleep(max_pause)
