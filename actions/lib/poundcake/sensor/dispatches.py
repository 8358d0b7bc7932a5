"""Follows dispatches to their end: sends them, watches them, and ends those that never would.

A dispatch is open from the moment the ledger has it until everything that rules started for it has
ended. ``st2/executions.py`` observes it and gives facts; what follows from them is done here.
"""

import collections
from typing import Any, Callable, Dict, Set, Tuple

from poundcake import clock
from poundcake.core import admission, overtime
from poundcake.core.alert import ENDED_STATUSES, Attempt, Row, find_episode, open_inquiries
from poundcake.core.facts import Acknowledged, Answered, Fact, Held, OfDispatch, Settled
from poundcake.sensor.log import EventLog
from poundcake.sensor.publisher import Publisher
from poundcake.sensor.recorder import Recorder
from poundcake.settings import Settings
from poundcake.st2 import executions
from poundcake.st2.client import StackStorm

MOST_RESENT = 4  # of a dispatch that StackStorm loses again and again
TRIES = 3  # of something about one alert, before that alert is set aside


class Dispatches:
    """Follows the dispatches of the ledger.

    :param settings: settings.Settings.
    :param stackstorm: client.StackStorm.
    :param recorder: recorder.Recorder.
    :param publisher: publisher.Publisher.
    :param log: log.EventLog.
    :param now: the clock, Unix time in seconds.
    :param set_aside: called with the fingerprint of an alert that cannot be followed, and why.
    """

    def __init__(
        self,
        settings: Settings,
        stackstorm: StackStorm,
        recorder: Recorder,
        publisher: Publisher,
        log: EventLog,
        now: Callable[[], float],
        set_aside: Callable[[str, Exception], None],
    ):
        self._settings = settings
        self._set_aside = set_aside
        self._stackstorm = stackstorm
        self._recorder = recorder
        self._ledger = recorder.ledger
        self._publisher = publisher
        self._log = log
        self._now = now
        self._canceled: Set[str] = set()  # execution ids
        # How often something about an alert has failed in a row, by its fingerprint.
        self._faults: Dict[str, int] = {}
        self._resent: Dict[str, int] = collections.defaultdict(int)  # by dispatch id
        self._expired: Set[str] = set()  # ids of inquiries that PoundCake answered itself

    def send(self, identity: str) -> None:
        """Send a dispatch that the ledger has; end it when StackStorm would drop it."""
        row, attempt = self._open(identity)
        try:
            self._publisher.add_dispatch(row, attempt)
        except ValueError as error:
            text = (
                f"{row['alertname']}: a dispatch cannot be sent, because StackStorm would drop it"
            )
            self._log.record(
                "unsendable", text, fingerprint=row["fingerprint"], dispatch_id=identity
            )
            self._give_up(row, attempt, str(error))

    def _open(self, identity: str) -> Tuple[Row, Attempt]:
        known = self._ledger.open_dispatch(identity)
        assert known, "a dispatch that has ended is not sent"
        return known

    def give_up_unsent(self, fingerprint: str, reason: str) -> None:
        """End the attempts of an alert whose dispatches are not sent yet."""
        for identity in self._publisher.withdraw(fingerprint):
            row, attempt = self._open(identity)
            self._give_up(row, attempt, reason)

    def _give_up(self, row: Row, attempt: Attempt, reason: str) -> None:
        """End an attempt of which StackStorm knows nothing and never will."""
        about = (row["fingerprint"], attempt["episode"], clock.to_text(self._now()))
        self._recorder.apply(Settled(*about, attempt["dispatch_id"], reason))
        self._resent.pop(attempt["dispatch_id"], None)

    def follow(self) -> None:
        """Look once what became of the dispatches, and do what follows from it."""
        dispatches = self._ledger.open_dispatches()
        facts, lost = executions.observe(
            self._stackstorm, dispatches, self._now(), self._publisher.patience
        )
        for fact in facts:
            self._guard(fact.fingerprint, self._observed, fact)
        for fingerprint in {row["fingerprint"] for row, _ in dispatches}:
            row = self._ledger.alerts.get(fingerprint)
            if row:
                self.follow_up(row)
        for identity in lost:
            if self._publisher.is_lost(identity):
                self._resend(identity)
        self._cancel()
        self._end_overtime()
        self._end_inquiries()

    def _guard(self, fingerprint: str, call: Callable[[Any], None], about: Any) -> None:
        """Do something about one alert; a bug in it must not stop the others."""
        try:
            call(about)
            self._faults.pop(fingerprint, None)
        except Exception as error:
            faults = self._faults[fingerprint] = self._faults.get(fingerprint, 0) + 1
            if faults == 1:
                text = "an alert cannot be followed; it is tried again, and the others go on"
                self._log.record("fault", text, error, fingerprint=fingerprint)
            elif faults >= TRIES:
                del self._faults[fingerprint]
                self._set_aside(fingerprint, error)

    def _observed(self, fact: Fact) -> None:
        if isinstance(fact, OfDispatch):
            known = self._ledger.open_dispatch(fact.dispatch_id)
            limit = self._settings.admission.attempt_seconds
            fact = overtime.explained(fact, known[1], limit, self._now()) if known else fact
        row = self._recorder.apply(fact)
        if isinstance(fact, Settled):
            self._publisher.forget(fact.dispatch_id)
            self._resent.pop(fact.dispatch_id, None)
        elif isinstance(fact, Answered) and fact.approved is False:
            self._decline(row, fact)

    def _decline(self, row: Row, answered: Answered) -> None:
        """Acknowledge an alert for the person who did not approve its remediation."""
        (attempt,) = [a for a in row["attempts"] if a["dispatch_id"] == answered.dispatch_id]
        self._recorder.apply(
            Acknowledged(
                answered.fingerprint,
                answered.episode,
                answered.at,
                attempt["request_id"],
                by=answered.by,
                reason=": ".join(
                    filter(None, ("its remediation was not approved", answered.reason))
                ),
            )
        )
        self._log.record(
            "declined",
            f"{row['alertname']}: its remediation was not approved",
            request_id=attempt["request_id"],
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
        )

    def _resend(self, identity: str) -> None:
        row, attempt = self._open(identity)
        episode = find_episode(row, attempt["episode"])
        if episode is None or episode["resolved_at"]:  # None: newer ones have replaced it
            self._give_up(row, attempt, "StackStorm lost it, and the episode is over")
            return
        self._resent[identity] += 1
        if self._resent[identity] > MOST_RESENT:
            # Its rules engine works, and cannot take this one.
            self._give_up(row, attempt, f"StackStorm lost it {MOST_RESENT + 1} times")
            return
        self._log.record(
            "retried",
            f"{row['alertname']}: StackStorm lost its dispatch, which is sent again",
            request_id=attempt["request_id"],
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            dispatch_id=identity,
        )
        self.send(identity)

    def follow_up(self, row: Row) -> None:
        """Make the fact that follows from the end of an alert's attempt, if any does."""
        self._guard(row["fingerprint"], self._end_of, row)

    def _end_of(self, row: Row) -> None:
        fact = admission.after_attempt(row, self._settings, clock.to_text(self._now()))
        if fact:
            self._recorder.apply(fact)
            if isinstance(fact, Held):
                self._log.record_held("retried", row, fact.cause, fact.request_id)

    def _cancel(self) -> None:
        """Cancel executions that are no longer needed, take too long, or will never start."""
        asked = set()
        limit = self._settings.admission.attempt_seconds
        for row, attempt in self._ledger.open_dispatches():
            episode = find_episode(row, attempt["episode"])
            resolved = (
                self._settings.admission.cancel_on_resolve and episode and episode["resolved_at"]
            )
            for execution in attempt["executions"]:
                if execution["status"] in ENDED_STATUSES:
                    continue
                why = "its alert resolved" if resolved else ""
                if overtime.is_over(attempt, limit, self._now()):
                    why = overtime.reason(limit)
                if executions.never_starts(execution, self._now()):
                    why = "StackStorm lost it before it ran; it is tried again"
                identity = execution["execution_id"]
                if why and identity not in self._canceled:
                    self._stackstorm.cancel_execution(identity)
                    self._log.record(
                        "canceled",
                        f"{row['alertname']}: its execution is canceled, because {why}",
                        request_id=attempt["request_id"],
                        fingerprint=row["fingerprint"],
                        alertname=row["alertname"],
                        execution_id=identity,
                    )
                if why:
                    asked.add(identity)
        self._canceled = asked

    def _end_overtime(self) -> None:
        """End the attempts that a dead runner would leave open for good."""
        limit = self._settings.admission.attempt_seconds
        for row, attempt in self._ledger.open_dispatches():
            facts = overtime.ends(row, attempt, limit, self._now())
            for fact in facts:
                self._guard(fact.fingerprint, self._observed, fact)
            ended = self._ledger.alerts.get(row["fingerprint"])
            if facts and ended:
                self.follow_up(ended)

    def _end_inquiries(self) -> None:
        """Answer inquiries whose time is up, or whose alert has resolved.

        Canceling the execution instead would leave the question open for good.
        """
        expired = set()
        for row, attempt in self._ledger.open_dispatches():
            episode = find_episode(row, attempt["episode"])
            resolved = episode and episode["resolved_at"]
            for inquiry in open_inquiries(attempt):
                until = inquiry["until"]
                if until and (resolved or self._now() > clock.to_seconds(until)):
                    expired.add(inquiry["inquiry_id"])
        for identity in expired - self._expired:
            if self._stackstorm.respond(identity, executions.TIME_IS_UP):
                text = "nobody answered before the time was up or the alert resolved"
                self._log.record("unanswered", text, inquiry_id=identity)
        self._expired = expired
