"""Waiting for somebody else's work, with a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(holds: Callable[[], bool], *, seconds: float, every: float = 0.2) -> bool:
    """Ask until it holds or the time is over; return whether it holds."""
    pause = threading.Event()
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= end:
            return False
        pause.wait(every)
    return True
