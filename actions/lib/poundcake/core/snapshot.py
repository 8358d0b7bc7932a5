"""The sensor's memory at a moment. Pure."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from poundcake.core.alert import Row
from poundcake.core.controls import Controls
from poundcake.core.limits import Breaker


@dataclass(frozen=True)
class Snapshot:
    """The sensor's memory at a moment.

    ``now``: Unix time. ``alerts``: rows. ``recent``: recent.Recent. ``controls``:
    controls.Controls, None before they are read. ``breakers``: ``{alertname: Breaker}`` of those
    that are open. ``running``: dispatches under way that do not only wait for a person's
    answer. ``undecided``: notifications that wait for a decision. ``set_aside``: entries of
    aside.py, without their contents.
    """

    now: float
    alerts: List[Row]
    recent: Any
    controls: Optional[Controls]
    breakers: Dict[str, Breaker]
    running: int
    undecided: int
    set_aside: List[Dict[str, Any]] = field(default_factory=list)

    @property
    def windows(self) -> List[Dict[str, Any]]:
        """The rows of the maintenance windows that are not over."""
        known = self.controls.windows if self.controls else ()
        return [window.row for window in known if self.now < window.ends]
