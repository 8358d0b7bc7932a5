"""Identifiers: request ids that sort by time, dispatch ids that survive a crash, safe keys."""

import hashlib
import os
import re
import threading
import time
import uuid
from typing import Optional

_KEY_PART = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_lock = threading.Lock()
_last_ms = 0
_sequence = 0


def new_uuid7(now: Optional[float] = None) -> str:
    """Return a UUIDv7 (RFC 9562) as a string.

    Ids made in one process sort in the order of their creation: the twelve bits after the
    milliseconds count up within one millisecond.

    :param now: Unix time in seconds; the current time when None.
    """
    global _last_ms, _sequence
    with _lock:
        ms = int((time.time() if now is None else now) * 1000)
        if ms > _last_ms:
            _last_ms, _sequence = ms, 0
        else:
            _sequence += 1
            if _sequence > 0xFFF:
                _last_ms, _sequence = _last_ms + 1, 0
        ms, sequence = _last_ms, _sequence
    tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = (ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | sequence << 64 | 0b10 << 62 | tail
    return str(uuid.UUID(int=value))


def dispatch_id(fingerprint: str, episode: str, attempt: int) -> str:
    """Return the id of one attempt of one episode.

    It is computed, not random: a sensor that was killed and decides again gives the same dispatch
    the same id, so a repeated dispatch is recognised.
    """
    return _named("dispatch", fingerprint, episode, attempt)


def event_id(*parts: object) -> str:
    """Return the id of an event: the same each time that the event is reported."""
    return _named("event", *parts)


def key_part(text: str) -> str:
    """Return ``text`` if it is safe inside a datastore key, otherwise a hash of it.

    StackStorm's API cuts a key at ``/``, ``?`` and ``#``, so only 1 to 64 of ``[0-9A-Za-z_-]``
    pass unchanged.
    """
    if _KEY_PART.match(text):
        return text
    return "h-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _named(kind: str, *parts: object) -> str:
    joined = "\n".join(str(part) for part in parts)
    name = f"poundcake:{kind}:{joined}"
    # Legal JSON may contain half of a surrogate pair, which cannot be encoded.
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
