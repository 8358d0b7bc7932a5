"""Finds the alert over which a round of the sensor fails, by trying each one alone."""

from typing import Optional

from poundcake import clock
from poundcake.core import admission, heartbeat
from poundcake.core.alert import Row, open_attempts
from poundcake.core.limits import Standing
from poundcake.errors import StackStormError
from poundcake.settings import Settings
from poundcake.st2 import executions, outbox
from poundcake.st2.client import StackStorm


def fault_of(
    row: Row, settings: Settings, standing: Standing, stackstorm: StackStorm
) -> Optional[Exception]:
    """Return what goes wrong when a round deals with this alert alone, None when nothing does.

    It decides and looks as a round does, and changes nothing. Raises StackStormError.
    """
    now = standing.now
    try:
        list(admission.release([row], standing, settings))
        admission.after_attempt(row, settings, clock.to_text(now))
        if row.get("heartbeat"):
            heartbeat.missed(row, settings, now, now)
        outbox.time_to_live("alerts", row, settings)
        attempts = [(row, attempt) for attempt in open_attempts(row)]
        executions.observe(stackstorm, attempts, now)
    except StackStormError:
        raise
    except Exception as error:
        return error
    return None
