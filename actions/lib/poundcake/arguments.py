"""What people write as parameters: checked, and refused in a sentence."""

from poundcake import clock
from poundcake.errors import ExpectedError

MOST_NAMED = 10


def span(name, text):
    """Return the length of time that a parameter or setting gives, in seconds."""
    try:
        return clock.span(text)
    except ValueError as error:
        raise ExpectedError("%s: %s" % (name, error))


def label_pairs(text):
    """Return the ``(name, value)`` of ``name=value`` pairs, comma-separated."""
    pairs = []
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals:
            raise ExpectedError('label: "%s" has no =; write name=value,name=value' % part.strip())
        pairs.append((name.strip(), value.strip().strip('"')))
    return pairs


def check_exists(name, value, found):
    """Raise ExpectedError when no row found has this value; an empty one is no question."""
    if not value:
        return
    known = sorted({row[name] for row in found if row[name]})
    if value not in known:
        raise ExpectedError(unknown(name, value, name + " values", known))


def unknown(name, value, what, known):
    text = '%s: "%s" is not known; ' % (name, value)
    if not known:
        return text + "there are no %s yet" % what
    more = ", ... (%d in all)" % len(known) if len(known) > MOST_NAMED else ""
    return text + "there are these %s: %s%s" % (what, ", ".join(known[:MOST_NAMED]), more)
