"""Identifiers: request ids that sort by time, dispatch ids that no crash doubles, safe keys."""

import hashlib
import os
import re
import threading
import time
import uuid

_KEY_PART = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_lock = threading.Lock()
_last_ms = 0
_sequence = 0


def new_uuid7(now=None):
    """Return a UUIDv7 (RFC 9562) as a string.

    Ids made in one process sort in the order in which they were made: the twelve bits behind the
    milliseconds count up within one millisecond.

    :param now: Unix time in seconds; the clock when None.
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


def dispatch_id(fingerprint, episode, attempt):
    """Return the id of one attempt of one episode.

    It is computed, not drawn: a sensor that was killed and decides again gives the same dispatch
    the same id, so that a second emission is recognised.
    """
    return _named("dispatch", fingerprint, episode, attempt)


def event_id(*parts):
    """Return the id of something that is told of, the same whenever it is told again."""
    return _named("event", *parts)


def key_part(text):
    """Return ``text`` if it is safe inside a datastore key, else a hash of it.

    StackStorm's API cuts a key at ``/``, ``?`` and ``#``, so only 1 to 64 of ``[0-9A-Za-z_-]``
    pass as they are.
    """
    if _KEY_PART.match(text):
        return text
    return "h-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _named(kind, *parts):
    text = "poundcake:%s:%s" % (kind, "\n".join(str(part) for part in parts))
    # Legal JSON may hold half of a surrogate pair, which no encoding takes as it is.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))
