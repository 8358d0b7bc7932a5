"""Shared by the actions: proof that actions/lib is on their path."""


def shout(text):
    """In capitals."""
    return text.upper()
