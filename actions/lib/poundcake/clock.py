"""Times as text: every row and payload writes UTC as ``2026-01-31T12:00:00.123456Z``."""

import re
from datetime import datetime, timedelta, timezone

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z"
)
# What ``to_text`` writes; rows have so many of them that the quick way is worth it.
_OWN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def to_text(seconds):
    """Return Unix time in seconds as RFC 3339 text in UTC with microseconds."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + "%06dZ" % moment.microsecond


def to_seconds(text):
    """Return RFC 3339 text as Unix time in seconds; raises ValueError when it is not."""
    if _OWN.match(text):
        try:
            return datetime.fromisoformat(text[:-1] + "+00:00").timestamp()
        except ValueError:  # a leap second
            pass
    moment, nanoseconds = _parse(text)
    return moment.timestamp() + nanoseconds / 1e9


def canonical(text):
    """Return RFC 3339 text in UTC with nine decimals, so that text order is time order.

    Raises ValueError when the text is not RFC 3339.
    """
    moment, nanoseconds = _parse(text)
    moment = moment.astimezone(timezone.utc)
    date = "%04d-%02d-%02d" % (moment.year, moment.month, moment.day)
    clock = "%02d:%02d:%02d" % (moment.hour, moment.minute, moment.second)
    return "%sT%s.%09dZ" % (date, clock, nanoseconds)


def span(text):
    """Return a length of time such as ``90s``, ``15m``, ``1h30m``, ``7d`` or ``2w`` in seconds.

    Raises ValueError when the text is none, or is nothing at all.
    """
    if not re.match(r"(?:\d{1,9}[smhdw])+\Z", text):
        raise ValueError('"%s" is no length of time; write one as in 90s, 15m, 1h30m or 7d' % text)
    seconds = sum(
        int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text)
    )
    if not seconds:
        raise ValueError('"%s" is no time at all' % text)
    return seconds


def is_zero(text):
    """True for Go's zero time, which Alertmanager and Prometheus send for "not known"."""
    return text.startswith("0001-01-01T00:00:00")


def elapsed(start, end):
    """Return the seconds from one RFC 3339 text to another (never negative), None if one lacks."""
    if not start or not end:
        return None
    return round(max(0.0, to_seconds(end) - to_seconds(start)), 3)


def _parse(text):
    match = _RFC3339.match(text)
    if not match:
        raise ValueError("not an RFC 3339 time")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    nanoseconds = int((match.group(7) or "0").ljust(9, "0"))
    zone = match.group(8)
    offset = timedelta(0)
    if zone not in "Zz":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        offset = -offset if zone[0] == "-" else offset
    # A leap second is written as :60, which datetime does not know.
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset))
    return moment, nanoseconds
