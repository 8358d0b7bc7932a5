"""Alertmanager's notifications, as all tests make them."""

# For tests that share a sensor: many of their alerts have an alertname or a host in common.
NO_CAPS = {"alertname_rate_limit": [], "target_rate_limit": []}


def alert(number=1, status="firing", starts_at="2026-11-21T08:00:00Z", **labels):
    """Return an entry of ``alerts[]``: a ServiceDown of one host a number, or what labels say."""
    labels = {
        "alertname": "ServiceDown",
        "instance": f"web{number}:9100",
        "severity": "critical",
        **labels,
    }
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "the service is down"},
        "startsAt": starts_at,
        "endsAt": "2026-11-21T08:10:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph",
    }


def notification(*alerts, **fields):
    """Return the body of a webhook, version 4, with some alerts."""
    return {
        "version": "4",
        "groupKey": '{}:{job="node"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "poundcake",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com",
        "alerts": list(alerts),
        **fields,
    }
