"""`from st2common import log as logging` in packs needs only getLogger."""

from logging import getLogger  # noqa: F401
