"""Waiting for somebody else's work, with a bound."""

from __future__ import annotations

import asyncio
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


async def eventually(holds: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Let everything else on this loop go on until it holds."""
    late = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < late
        await asyncio.sleep(0)
