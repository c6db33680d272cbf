"""How far a recording's work is, shown where it was asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger("undertone")


def bar() -> Callable[[float, float], object]:
    """A bar by tqdm where that is installed, else lines of the log."""
    try:
        from tqdm import tqdm
    except ImportError:
        return lambda done, total: logger.info("%.1f of %.1f s", done, total)
    layout = "{l_bar}{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]"
    # A total from the start, since the layout formats it as a number at once.
    shown = tqdm(total=0.0, unit="s", bar_format=layout)

    def update(done: float, total: float) -> None:
        shown.total = total
        shown.update(min(done, total) - shown.n)
        if done >= total:
            shown.close()

    return update
