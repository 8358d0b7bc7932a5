"""The sensor's memory at a moment. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Snapshot:
    """The sensor's memory at a moment.

    ``now``: Unix time. ``alerts``: rows. ``recent``: recent.Recent. ``controls``:
    controls.Controls, None before they are read. ``breakers``: ``{alertname: Breaker}`` of those
    that are open. ``running``: dispatches under way, but for those that wait for a person's answer.
    ``undecided``: notifications that
    wait for a decision.
    """

    now: float
    alerts: list
    recent: object
    controls: object
    breakers: dict
    running: int
    undecided: int

    @property
    def windows(self):
        """The rows of the maintenance windows that are not over."""
        known = self.controls.windows if self.controls else ()
        return [window.row for window in known if self.now < window.ends]
