"""What becomes of dispatches: sent, followed to their end, and ended when they never would.

A dispatch is in flight from the moment it is taken down until all that rules started for it has
ended. What is seen of it are facts for the ledger (watch.py); what follows from them is done here.
"""

from poundcake import clock
from poundcake.core import admission
from poundcake.core.alert import ENDED_STATUSES, find_episode, open_inquiries
from poundcake.core.facts import Acknowledged, Answered, Held, Settled
from poundcake.st2 import executions


class Dispatches:
    """Follows the dispatches of a ledger.

    :param settings: settings.Settings.
    :param stackstorm: stackstorm.StackStorm.
    :param ledger: ledger.Ledger.
    :param bus: bus.Bus.
    :param log: events.Events.
    :param now: the clock, Unix time in seconds.
    """

    def __init__(self, settings, stackstorm, ledger, bus, log, now):
        self._settings = settings
        self._stackstorm = stackstorm
        self._ledger = ledger
        self._publisher = bus
        self._log = log
        self._now = now
        self._canceled = set()  # execution ids
        self._faulty = set()  # fingerprints of alerts over which PoundCake stumbled
        self._over = set()  # ids of inquiries that were answered for want of a person

    def send(self, identity):
        """Send a dispatch that the ledger has; end it when StackStorm would drop it."""
        row, attempt = self._ledger.flight(identity)
        try:
            self._publisher.add_dispatch(row, attempt)
        except ValueError as error:
            text = "%s: a dispatch cannot be sent, as StackStorm would drop it" % row["alertname"]
            self._log.record(
                "unsendable", text, fingerprint=row["fingerprint"], dispatch_id=identity
            )
            self._give_up(row, attempt, str(error))

    def _give_up(self, row, attempt, reason):
        """End an attempt of which StackStorm knows nothing and never will."""
        about = (row["fingerprint"], attempt["starts_at"], clock.to_text(self._now()))
        self._ledger.apply(Settled(*about, attempt["dispatch_id"], reason))

    def follow(self):
        """Look once what became of the dispatches, and do what follows from it."""
        flights = self._ledger.flights()
        facts, lost = executions.observe(self._stackstorm, flights, self._now())
        for fact in facts:
            self._guard(fact.fingerprint, self._observed, fact)
        for fingerprint in {row["fingerprint"] for row, _ in flights}:
            self.follow_up(self._ledger.alerts[fingerprint])
        for identity in lost:
            if self._publisher.is_lost(identity):
                self._resend(identity)
        self._cancel()
        self._end_inquiries()

    def _guard(self, fingerprint, call, about):
        """Do something about one alert: a fault of PoundCake's in it must not stop the others."""
        try:
            call(about)
        except Exception as error:
            if fingerprint not in self._faulty:
                text = "an alert cannot be followed any further; the others go on"
                self._log.record("fault", text, error, fingerprint=fingerprint)
            self._faulty.add(fingerprint)

    def _observed(self, fact):
        row = self._ledger.apply(fact)
        if isinstance(fact, Settled):
            self._publisher.forget(fact.dispatch_id)
        elif isinstance(fact, Answered) and fact.approved is False:
            self._decline(row, fact)

    def _decline(self, row, answered):
        """Acknowledge an alert for the person who did not approve its remediation."""
        (attempt,) = [a for a in row["attempts"] if a["dispatch_id"] == answered.dispatch_id]
        self._ledger.apply(
            Acknowledged(
                answered.fingerprint,
                answered.episode,
                answered.at,
                attempt["request_id"],
                by="",
                reason="its remediation was not approved",
            )
        )
        self._log.record(
            "declined",
            "%s: its remediation was not approved" % row["alertname"],
            request_id=attempt["request_id"],
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
        )

    def _resend(self, identity):
        row, attempt = self._ledger.flight(identity)
        episode = find_episode(row, attempt["starts_at"])
        if episode is None or episode["resolved_at"]:  # None: newer ones have replaced it
            self._give_up(row, attempt, "StackStorm lost it, and the episode is over")
            return
        self._log.record(
            "retried",
            "%s: its dispatch got lost in StackStorm and is sent again" % row["alertname"],
            request_id=attempt["request_id"],
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            dispatch_id=identity,
        )
        self.send(identity)

    def follow_up(self, row):
        """Make the fact that follows from the end of an alert's attempt, if any does."""
        self._guard(row["fingerprint"], self._end_of, row)

    def _end_of(self, row):
        fact = admission.after_attempt(row, self._settings, clock.to_text(self._now()))
        if fact:
            self._ledger.apply(fact)
            if isinstance(fact, Held):
                self._log.record_held("retried", row, fact.cause, fact.request_id)

    def _cancel(self):
        """Cancel executions of which nothing is wanted any more, or that will never start."""
        asked = set()
        for row, attempt in self._ledger.flights():
            episode = find_episode(row, attempt["starts_at"])
            resolved = (
                self._settings.admission.cancel_on_resolve and episode and episode["resolved_at"]
            )
            for execution in attempt["executions"]:
                if execution["status"] in ENDED_STATUSES:
                    continue
                why = "its alert resolved" if resolved else ""
                if executions.never_starts(execution, self._now()):
                    why = "StackStorm lost it before it ran; it is tried again"
                identity = execution["execution_id"]
                if why and identity not in self._canceled:
                    self._stackstorm.cancel_execution(identity)
                    self._log.record(
                        "canceled",
                        "%s: its execution is canceled, because %s" % (row["alertname"], why),
                        request_id=attempt["request_id"],
                        fingerprint=row["fingerprint"],
                        alertname=row["alertname"],
                        execution_id=identity,
                    )
                if why:
                    asked.add(identity)
        self._canceled = asked

    def _end_inquiries(self):
        """Answer for the person who has let the time go by, or need not answer any more.

        Canceling the execution instead would leave the question open for good.
        """
        over = set()
        for row, attempt in self._ledger.flights():
            episode = find_episode(row, attempt["starts_at"])
            resolved = episode and episode["resolved_at"]
            for inquiry in open_inquiries(attempt):
                until = inquiry["until"]
                if until and (resolved or self._now() > clock.to_seconds(until)):
                    over.add(inquiry["inquiry_id"])
        for identity in over - self._over:
            if self._stackstorm.respond(identity, executions.TIME_IS_UP):
                text = "nobody answered before the time was up or the alert resolved"
                self._log.record("unanswered", text, inquiry_id=identity)
        self._over = over
