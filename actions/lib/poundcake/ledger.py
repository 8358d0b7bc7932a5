"""The sensor's memory: rows of alerts and requests, and what of them is not written yet.

It is what the datastore holds plus what is on its way there, so a sensor that starts again loads
it from the rows and the outbox and goes on.
"""

import copy

from poundcake import admission, clock, lifecycle, outbox, rows


class Ledger:
    """Alert rows by fingerprint and request rows by id; rows in it are replaced, never changed."""

    def __init__(self):
        self.alerts = {}
        self.requests = {}
        self.changed = {kind: {} for kind in rows.KINDS}
        self.transitions = []  # (row, from, to, entry) since the last take_transitions
        self._open = {}  # dispatch_id -> fingerprint
        self._waiting = set()  # fingerprints of pending alerts

    def load(self, stackstorm):
        """Fill the ledger: alert rows, overtaken by the outbox, and the requests that are open."""
        untracked = outbox.merge(outbox.waiting(stackstorm))
        stored = {row["fingerprint"]: row for row in rows.read_all(stackstorm, rows.ALERT)}
        for fingerprint, row in untracked["alerts"].items():
            if fingerprint not in stored or row["rev"] >= stored[fingerprint]["rev"]:
                stored[fingerprint] = row
        for row in stored.values():
            self._put_alert(row)
        self.requests.update(untracked["requests"])
        for request_id in self._open_request_ids():
            if request_id not in self.requests:
                row = rows.read(stackstorm, rows.REQUEST, request_id)
                if row:
                    self.requests[request_id] = row

    @property
    def in_flight(self):
        """How many dispatches have not ended."""
        return len(self._open)

    @property
    def waiting(self):
        """The rows of the pending alerts."""
        return [self.alerts[fingerprint] for fingerprint in self._waiting]

    @property
    def busy(self):
        """The fingerprints that have a dispatch which has not ended."""
        return set(self._open.values())

    def flights(self):
        """Return ``(row, attempt)`` of every dispatch that has not ended."""
        found = []
        for fingerprint in self.busy:
            row = self.alerts[fingerprint]
            found += [(row, attempt) for attempt in lifecycle.open_attempts(row)]
        return found

    def flight(self, dispatch_id):
        """Return ``(row, attempt)`` of one dispatch, None when it has ended."""
        row = self.alerts.get(self._open.get(dispatch_id))
        for attempt in lifecycle.open_attempts(row) if row else []:
            if attempt["dispatch_id"] == dispatch_id:
                return row, attempt
        return None

    def view_for(self, fingerprint):
        """Return what admission may know for a decision on one alert."""
        return admission.Ledger(
            row=self.alerts.get(fingerprint),
            in_flight=len(self._open),
            waiting=len(self._waiting),
        )

    def apply(self, fact):
        """Add one lifecycle fact."""
        before = self.alerts.get(fact["fingerprint"])
        after = lifecycle.apply(before, fact)
        if after is before:
            return
        self._put_alert(after)
        self.changed["alerts"][after["fingerprint"]] = after
        for came_from, went_to, entry in lifecycle.transitions(before, after):
            self.transitions.append((after, came_from, went_to, entry))
        if fact["kind"] == "executed":
            self._put_execution(after, fact)
        self._complete_requests(after, fact["at"])

    def add_request(self, row):
        """Add the row of a request whose alerts are all decided."""
        row = dict(row, rev=1)
        self._put_request(_completed(row, row["received_at"]))
        for entry in row["alerts"]:
            if entry["fingerprint"] in self.alerts:
                self._complete_requests(self.alerts[entry["fingerprint"]], row["received_at"])

    def take_changed(self):
        """Return the changed rows and begin a new collection."""
        changed, self.changed = self.changed, {kind: {} for kind in rows.KINDS}
        return changed

    def put_back(self, changed):
        """Give back rows that could not be written; what changed since then is newer."""
        for kind, found in changed.items():
            for name, row in found.items():
                self.changed[kind].setdefault(name, row)

    def take_transitions(self):
        """Return the state changes and begin a new collection."""
        found, self.transitions = self.transitions, []
        return found

    def forget(self, now, settings):
        """Drop what the datastore drops by its TTL as well: old alerts and tracked requests."""
        for fingerprint, row in list(self.alerts.items()):
            keep = outbox.time_to_live("alerts", row, settings)
            seen = max(filter(None, (row["last_seen_at"], row["state_since"])), default=None)
            idle = seen is None or now - clock.to_seconds(seen) > keep
            if idle and fingerprint not in self._waiting and not lifecycle.open_attempts(row):
                del self.alerts[fingerprint]

    def forget_requests(self):
        """Drop the complete requests when everything is tracked: their rows answer from now on."""
        for request_id, row in list(self.requests.items()):
            if row["completed_at"] and request_id not in self.changed["requests"]:
                del self.requests[request_id]

    def _put_alert(self, row):
        fingerprint = row["fingerprint"]
        for attempt in row["attempts"]:
            if attempt["dispatched_at"] and not attempt["outcome"]:
                self._open[attempt["dispatch_id"]] = fingerprint
            else:
                self._open.pop(attempt["dispatch_id"], None)
        if row["state"] == lifecycle.PENDING:
            self._waiting.add(fingerprint)
        else:
            self._waiting.discard(fingerprint)
        self.alerts[fingerprint] = row

    def _put_request(self, row):
        self.requests[row["request_id"]] = row
        self.changed["requests"][row["request_id"]] = row

    def _put_execution(self, row, fact):
        execution = fact["execution"]
        attempt = next(a for a in row["attempts"] if a["dispatch_id"] == fact["dispatch_id"])
        known = dict(execution)
        known.update(
            rev=row["rev"],
            request_id=attempt["request_id"],
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            host=row["host"],
            dispatch_id=attempt["dispatch_id"],
            attempt=attempt["attempt"],
            elapsed=clock.elapsed(execution["started_at"], execution["ended_at"]),
        )
        self.changed["executions"][execution["execution_id"]] = known

    def _open_request_ids(self):
        found = {attempt["request_id"] for _, attempt in self.flights()}
        found |= {lifecycle.current(row)["pended"]["request_id"] for row in self.waiting}
        return found - {None}

    def _complete_requests(self, row, at):
        """Write outcomes of an alert into the requests that brought it."""
        for request_id in {e["request_id"] for e in row["history"]} - {None}:
            request = self.requests.get(request_id)
            if request and not request["completed_at"]:
                changed = _with_outcomes(request, row)
                if changed != request:
                    changed["rev"] = request["rev"] + 1
                    self._put_request(_completed(changed, at))


def _with_outcomes(request, row):
    request = copy.deepcopy(request)
    for entry in request["alerts"]:
        waits = entry["decision"] in (admission.DISPATCH, admission.PEND)
        if entry["fingerprint"] != row["fingerprint"] or entry["outcome"] or not waits:
            continue
        for attempt in row["attempts"]:
            if attempt["request_id"] == request["request_id"]:
                entry["dispatch_id"] = attempt["dispatch_id"]
                entry["outcome"] = attempt["outcome"]
        episode = next((e for e in row["episodes"] if e["starts_at"] == entry["starts_at"]), None)
        if entry["dispatch_id"]:
            continue
        if episode and episode["resolved_at"]:
            entry["outcome"] = lifecycle.RESOLVED
        elif entry["starts_at"] != row["starts_at"]:
            entry["outcome"] = "superseded by a newer episode"
    return request


def _completed(request, at):
    waits = any(
        entry["decision"] in (admission.DISPATCH, admission.PEND) and not entry["outcome"]
        for entry in request["alerts"]
    )
    if not waits and not request["completed_at"]:
        request["completed_at"] = at
    return request
