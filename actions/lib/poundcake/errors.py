"""Every error that the pack raises on purpose.

PoundCakeError
└── ExpectedError    an action answers it: ``(False, {"error": ...})``
"""


class PoundCakeError(Exception):
    """Base of the pack's errors."""


class ExpectedError(PoundCakeError):
    """Something that a person can put right; the text names the parameter and the remedy."""

    details = {}  # what the answer of an action holds beside the text
