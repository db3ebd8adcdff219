"""AIBrix's APA: a ratio of KV cache utilisation to its target, with a tolerance and doubling at most."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from inferfleet.simulate.peers.signals import Window, ceil
from inferfleet.simulate.policy import Seen, Setting

TOLERANCE = 0.1
MAX_RATE = 2.0
WINDOW_SECONDS = 60.0
COOLDOWN_SECONDS = 300.0


def apa(current: int, ratio: float) -> int:
    """Above 1.1: `min(ceil(N r), 2 N)`; below 0.9: `max(ceil(N r), floor(N / 2))`; else N."""
    if ratio > 1.0 + TOLERANCE:
        return min(ceil(current * ratio), ceil(MAX_RATE * current))
    if ratio < 1.0 - TOLERANCE:
        return max(ceil(current * ratio), math.floor(current / MAX_RATE))
    return current


@dataclass(slots=True)
class Apa:
    """Mean KV utilisation of the pods that answer, over a window, every 10 s.

    Read: the formula, tolerances, rates and cooldowns (0 s up, 300 s down), and that within the cooldown the
    smallest recommendation rules, so that it delays nothing. Inferred: the window is the 60 s one; going up,
    the ratio multiplies the replicas that are ready, as since September 2026 (before, those that were
    starting were multiplied again, aibrix#2670).
    """

    target: float
    drain_seconds: float
    window: Window = field(default_factory=lambda: Window(WINDOW_SECONDS))
    recommendations: deque[tuple[float, int]] = field(default_factory=deque)
    name: str = "aibrix-apa"
    period_seconds: float = 10.0

    def replicas(self, seen: Seen, now: float) -> int:
        """One tick; a tick without any pod that answers changes nothing."""
        if not seen.samples:
            return seen.desired
        self.window.add(now, sum(sample.kv_usage or 0.0 for sample in seen.samples) / len(seen.samples))
        ratio = self.window.mean() / self.target
        wanted = apa(seen.desired, ratio) if ratio < 1.0 else max(seen.desired, apa(seen.ready, ratio))
        self.recommendations.append((now, wanted))
        while self.recommendations[0][0] <= now - COOLDOWN_SECONDS:
            self.recommendations.popleft()
        if wanted < seen.desired:
            return min(count for _, count in self.recommendations)
        return wanted


def aibrix(_setting: Setting, target: float = 0.5, drain_seconds: float = 0.0) -> Apa:
    """The target is KV cache utilisation, 0..1."""
    return Apa(target, drain_seconds)
