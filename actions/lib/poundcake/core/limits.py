"""What may hold an attempt back: pauses, breaker, rates, dry run, the window. Pure."""

from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, List, Optional, Set, Tuple

from poundcake import clock
from poundcake.core.alert import (
    FAILED,
    PENDING,
    REMEDIATED,
    SUCCEEDED,
    SUPPRESSED,
    Attempt,
    Row,
    ended_at,
    open_attempts,
)
from poundcake.core.controls import Controls
from poundcake.core.decisions import (
    ALERTNAME_RATE,
    BREAKER,
    DRY_RUN,
    HEARTBEAT,
    HEARTBEAT_TEXT,
    PREVIOUS,
    RATE,
    SERIALIZED,
    TARGET_RATE,
    WINDOW,
    Hold,
)
from poundcake.matchers import labels_of
from poundcake.settings import Settings

_LIMIT_NAMES = {
    RATE: "rate limit",
    ALERTNAME_RATE: "rate limit of the alertname over all targets",
    TARGET_RATE: "rate limit of the target over all alertnames",
}
RateKey = Tuple[str, ...]


@dataclass(frozen=True)
class Breaker:
    """How the latest remediations of one alertname have ended.

    ``failures``: in a row, without a success since. ``opened_at``: Unix time of the failure that
    opened it, None while it is closed. ``trial``: a dispatch since the pause was over has not
    ended.
    """

    failures: int = 0
    opened_at: Optional[float] = None
    trial: bool = False


@dataclass
class Standing:
    """What admission knows besides the alert itself, at one moment.

    ``now``: Unix time. ``in_flight``: dispatches that have not ended; ``busy``: the ``place`` of
    each. ``waiting``: how many alerts wait for room. ``times_of``: gives the Unix times of the
    dispatches that count for one of ``rate_keys``. ``breaker_of``: gives the Breaker of an
    alertname. ``controls``: what operators have paused, None before it is read. ``started``: rows
    of the alerts dispatched since, which the callables do not know.
    """

    now: float
    in_flight: int
    busy: Set[Optional[str]]
    waiting: int
    times_of: Callable[[RateKey], List[float]]
    breaker_of: Callable[[str], Breaker]
    controls: Optional[Controls]
    started: List[Row] = field(default_factory=list)

    def start(self, row: Row, settings: Settings) -> None:
        """Count one more dispatch."""
        self.in_flight += 1
        self.busy.add(place(row, settings))
        self.started.append(row)


def hold_by(
    row: Row, standing: Standing, settings: Settings, forced: bool = False
) -> Optional[Hold]:
    """Return the Hold on the next attempt of an alert, None when it may be dispatched.

    :param row: at least fingerprint, alertname, host, target, labels and attempts.
    :param forced: True when a person asked for the attempt: the limits do not apply.
    """
    if open_attempts(row):
        text = "the remediation of this alert's previous episode has not ended"
        return Hold(PENDING, PREVIOUS, text)
    if settings.admission.is_heartbeat(row["alertname"]):
        return Hold(SUPPRESSED, HEARTBEAT, HEARTBEAT_TEXT)
    if not forced:
        hold = _by_controls(row, standing) or _by_breaker(row, standing, settings)
        hold = hold or _by_rate(row, standing, settings)
        if hold:
            return hold
    if settings.admission.is_dry(row["alertname"]):
        return Hold(SUPPRESSED, DRY_RUN, "dry run: it would have been dispatched")
    return _by_room(row, standing, settings)


def breaker(attempts: Iterable[Attempt], settings: Settings) -> Breaker:
    """Return the Breaker of an alertname from its attempts, across hosts and episodes.

    :param attempts: attempts as rows have them, in any order.
    """
    attempts = list(attempts)
    failures = 0
    opened_at: Optional[float] = None
    ended = filter(_succeeded_or_failed, attempts)
    for attempt in sorted(ended, key=lambda a: (ended_at(a), a["dispatch_id"])):
        if attempt["outcome"] == REMEDIATED:
            failures, opened_at = 0, None
            continue
        failures += 1
        if settings.admission.breaker_failures and failures >= settings.admission.breaker_failures:
            # What began before the trial may fail meanwhile; that is no news.
            if opened_at is None or _is_trial(attempt, opened_at, settings):
                opened_at = clock.to_seconds(ended_at(attempt))
    trial = opened_at is not None and any(
        not attempt["outcome"] and _is_trial(attempt, opened_at, settings) for attempt in attempts
    )
    return Breaker(failures, opened_at, trial)


def place(row: Row, settings: Settings) -> Optional[str]:
    """Return the value that no two remediations may share at a time, None when there is none."""
    name = settings.admission.serialize_by
    known = {"target": row["target"], "host": row["host"]}
    return (known[name] if name in known else row["labels"].get(name)) or None


def rate_keys(row: Row) -> Dict[str, RateKey]:
    """Return what each rate is counted for, by the cause of the hold when it is used up.

    An alert without a target is its own.
    """
    alertname, target = row["alertname"], row["target"]
    keys: Dict[str, RateKey] = {
        RATE: (RATE, alertname, target or row["fingerprint"]),
        ALERTNAME_RATE: (ALERTNAME_RATE, alertname),
    }
    return {**keys, TARGET_RATE: (TARGET_RATE, target)} if target else keys


def _by_controls(row: Row, standing: Standing) -> Optional[Hold]:
    if standing.controls is None:
        return None
    paused = standing.controls.hold_by(row["alertname"], labels_of(row), standing.now)
    return Hold(SUPPRESSED, *paused) if paused else None


def _by_breaker(row: Row, standing: Standing, settings: Settings) -> Optional[Hold]:
    name = row["alertname"]
    known = standing.breaker_of(name)
    if known.opened_at is None:
        return None
    ends = known.opened_at + settings.admission.breaker_seconds
    text = f"the breaker of {name} is open after {known.failures} failures in a row"
    if standing.now < ends:
        text += f"; one remediation is tried at {clock.to_text(ends)}"
        return Hold(SUPPRESSED, BREAKER, text)
    if known.trial or any(started["alertname"] == name for started in standing.started):
        return Hold(SUPPRESSED, BREAKER, text + "; one remediation is being tried")
    return None


def _by_rate(row: Row, standing: Standing, settings: Settings) -> Optional[Hold]:
    now = standing.now
    for cause, key in rate_keys(row).items():
        rates = settings.admission.rates[cause]
        if not rates:
            continue
        started = [item for item in standing.started if rate_keys(item).get(cause) == key]
        used = standing.times_of(key) + [now] * len(started)
        for count, seconds in rates:
            times = [at for at in used if at > now - seconds]
            if len(times) >= count:
                ends = clock.to_text(sorted(times)[-count] + seconds)
                used_up = f"{_LIMIT_NAMES[cause]} reached: {count} in {seconds} s"
                return Hold(SUPPRESSED, cause, f"{used_up}; the next may start at {ends}")
    return None


def _by_room(row: Row, standing: Standing, settings: Settings) -> Optional[Hold]:
    value = place(row, settings)
    if value is not None and value in standing.busy:
        name = settings.admission.serialize_by
        reason = f'a remediation for the same {name}, "{value}", is in flight (serialize_by)'
        return Hold(PENDING, SERIALIZED, reason)
    most = settings.admission.max_concurrent
    if standing.in_flight >= most:
        reason = f"{standing.in_flight} remediations in flight, max_concurrent is {most}"
        return Hold(PENDING, WINDOW, reason)
    return None


def _succeeded_or_failed(attempt: Attempt) -> bool:
    """Return whether an attempt says something about its remediation; a canceled one does not."""
    bad = [e["status"] for e in attempt["executions"] if e["status"] != SUCCEEDED]
    failed = attempt["outcome"] == FAILED and set(bad) != {"canceled"}
    return failed or attempt["outcome"] == REMEDIATED


def _is_trial(attempt: Attempt, opened_at: float, settings: Settings) -> bool:
    """Return whether an attempt began after the pause of a breaker that opened then."""
    began, ends = attempt["dispatched_at"], opened_at + settings.admission.breaker_seconds
    return began is not None and clock.to_seconds(began) >= ends
