"""Times as text: every row and payload writes UTC as ``2026-01-31T12:00:00.123456Z``."""

import re
from datetime import datetime, timedelta, timezone
from typing import Optional, Tuple

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z"
)
# What ``to_text`` writes; rows have so many times that a faster way to read them is worth it.
_OWN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def to_text(seconds: float) -> str:
    """Return Unix time in seconds as RFC 3339 text in UTC with microseconds."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}Z"


def to_seconds(text: str) -> float:
    """Return RFC 3339 text as Unix time in seconds; raise ValueError for any other text."""
    if _OWN.match(text):
        try:
            return datetime.fromisoformat(text[:-1] + "+00:00").timestamp()
        except ValueError:  # a leap second
            pass
    moment, nanoseconds = _parse(text)
    return moment.timestamp() + nanoseconds / 1e9


def canonical(text: str) -> str:
    """Return RFC 3339 text in UTC with nine decimals, so that it sorts by time.

    Raises ValueError for any other text.
    """
    moment, nanoseconds = _parse(text)
    moment = moment.astimezone(timezone.utc)
    date = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"
    clock = f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}"
    return f"{date}T{clock}.{nanoseconds:09d}Z"


def span(text: str) -> int:
    """Return a duration such as ``90s``, ``15m``, ``1h30m``, ``7d`` or ``2w`` in seconds.

    Raises ValueError when the text is not a duration, or is zero.
    """
    if not re.match(r"(?:\d{1,9}[smhdw])+\Z", text):
        raise ValueError(f'"{text}" is not a duration; expected one like 90s, 15m, 1h30m or 7d')
    seconds = sum(
        int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text)
    )
    if not seconds:
        raise ValueError(f'"{text}" is zero; expected a positive duration')
    return seconds


def is_zero(text: str) -> bool:
    """Return whether this is Go's zero time, which Alertmanager and Prometheus send for unknown."""
    return text.startswith("0001-01-01T00:00:00")


def elapsed(start: Optional[str], end: Optional[str]) -> Optional[float]:
    """Return the seconds from one RFC 3339 text to another, at least 0; None if one is missing."""
    if not start or not end:
        return None
    return round(max(0.0, to_seconds(end) - to_seconds(start)), 3)


def _parse(text: str) -> Tuple[datetime, int]:
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
    # A leap second is written as :60, which datetime does not accept.
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset))
    return moment, nanoseconds
