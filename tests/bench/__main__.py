"""``make bench``: how fast, for the engine at hand, as figures that compare within one run.

``storm`` shows what the window costs and gains, ``tracked`` what PoundCake costs, and whether that
grows with what it has to remember, ``large`` what one notification of many alerts costs, ``scrape``
what reading /metrics costs, ``scale`` what grows with the number of active alerts.
"""

import sys
import tempfile
from pathlib import Path

from tests.bench import large, scale, scrape, storm, tracked
from tests.support.world import open_world


def main():
    with tempfile.TemporaryDirectory(prefix="poundcake-bench-") as folder:
        with open_world(Path(folder) / "storm") as world:
            storm.bench(world)
        print()
        # On the embedded engine the window is as wide as the burst: it is there to slow down, and
        # this measures what tracking and admission cost.
        with open_world(Path(folder) / "tracked", max_concurrent=tracked.REMEDIATIONS) as world:
            tracked.bench(world)
        print()
        with open_world(Path(folder) / "large") as world:
            large.bench(world)
        print()
        with open_world(Path(folder) / "scrape") as world:
            scrape.bench(world)
        print()
        with open_world(Path(folder) / "scale") as world:
            scale.bench(world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
