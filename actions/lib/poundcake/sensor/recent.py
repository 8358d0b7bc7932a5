"""The latest requests and decisions, for display only. No decision depends on them.

They are bounded and lost with the process: the request rows in the datastore keep everything.
"""

from typing import Any, Container, Dict, List, Mapping, Tuple

MOST_REQUESTS = 100
MOST_READ = 25  # requests that a new process reads: each is a call
MOST_ALERTS = 50  # alerts of a request that are named
MOST_DECISIONS = 8  # decisions on an alert

# (request_id, received_at, decision, reason)
DecisionRecord = Tuple[str, str, str, str]


class Recent:
    """The displayed part of the latest request rows; its values are replaced, never changed.

    A request has request_id, received_at, completed_at, source, receiver, counts and ``named``:
    ``(fingerprint, alertname)`` of its first alerts.
    """

    def __init__(self) -> None:
        self._requests: Dict[str, Dict[str, Any]] = {}
        self._decisions: Dict[str, Tuple[DecisionRecord, ...]] = {}

    def add(self, row: Mapping[str, Any], known: Container[str]) -> None:
        """Add the row of a request whose alerts are decided.

        :param known: the fingerprints whose decisions are kept.
        """
        for entry in row["alerts"]:
            name = entry["fingerprint"]
            if name in known:
                record = row["request_id"], row["received_at"], entry["decision"], entry["reason"]
                records = (*self._decisions.get(name, ()), record)
                self._decisions[name] = records[-MOST_DECISIONS:]
        self._requests[row["request_id"]] = _described(row)
        if len(self._requests) > MOST_REQUESTS:
            del self._requests[min(self._requests)]  # ids sort by time

    def update(self, row: Mapping[str, Any]) -> None:
        """Replace a row that was added with a newer version."""
        if row["request_id"] in self._requests:
            self._requests[row["request_id"]] = _described(row)

    def forget(self, fingerprint: str) -> None:
        """Drop the decisions on an alert that is no longer in memory."""
        self._decisions.pop(fingerprint, None)

    def requests(self) -> List[Dict[str, Any]]:
        """Return the latest requests, newest first."""
        known = self._requests.copy()  # other threads read it
        return [known[request_id] for request_id in sorted(known, reverse=True)]

    def decisions(self, fingerprint: str) -> Tuple[DecisionRecord, ...]:
        """Return the latest decisions on an alert, newest first."""
        return self._decisions.get(fingerprint, ())[::-1]


def _described(row: Mapping[str, Any]) -> Dict[str, Any]:
    names = ("request_id", "received_at", "completed_at", "source", "receiver", "counts")
    named = [(entry["fingerprint"], entry["alertname"]) for entry in row["alerts"][:MOST_ALERTS]]
    return dict({name: row[name] for name in names}, named=named)
