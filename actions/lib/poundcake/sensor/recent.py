"""The latest requests and decisions, for whoever looks. Nothing is decided by it.

It is bounded, and lost with the process: the request rows in the datastore have all of it.
"""

MOST_REQUESTS = 100
MOST_READ = 25  # of them, when a new process begins: each is a call
MOST_ALERTS = 50  # of a request that are named
MOST_DECISIONS = 8  # of an alert


class Recent:
    """What of the latest request rows is worth showing; values in it are replaced, never changed.

    A request has request_id, received_at, completed_at, source, receiver, counts and ``named``:
    ``(fingerprint, alertname)`` of its first alerts. A decision is ``(request_id, received_at,
    decision, reason)``.
    """

    def __init__(self):
        self._requests = {}
        self._decisions = {}

    def add(self, row, known):
        """Take the row of a request whose alerts are decided.

        :param known: the fingerprints of which decisions are worth remembering.
        """
        for entry in row["alerts"]:
            name = entry["fingerprint"]
            if name in known:
                said = row["request_id"], row["received_at"], entry["decision"], entry["reason"]
                self._decisions[name] = (self._decisions.get(name, ()) + (said,))[-MOST_DECISIONS:]
        self._requests[row["request_id"]] = _described(row)
        if len(self._requests) > MOST_REQUESTS:
            del self._requests[min(self._requests)]  # ids sort by time

    def update(self, row):
        """Take a newer version of a row that was added."""
        if row["request_id"] in self._requests:
            self._requests[row["request_id"]] = _described(row)

    def forget(self, fingerprint):
        """Drop the decisions on an alert that is no longer remembered."""
        self._decisions.pop(fingerprint, None)

    def requests(self):
        """Return the latest requests, newest first."""
        known = self._requests.copy()  # other threads ask
        return [known[request_id] for request_id in sorted(known, reverse=True)]

    def decisions(self, fingerprint):
        """Return the latest decisions on an alert, newest first."""
        return self._decisions.get(fingerprint, ())[::-1]


def _described(row):
    names = ("request_id", "received_at", "completed_at", "source", "receiver", "counts")
    named = [(entry["fingerprint"], entry["alertname"]) for entry in row["alerts"][:MOST_ALERTS]]
    return dict({name: row[name] for name in names}, named=named)
