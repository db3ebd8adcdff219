"""Peers that scale on requests in flight as their own proxy counts them: Knative and KubeAI."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from inferfleet.simulate.peers.signals import ceil
from inferfleet.simulate.policy import Seen, Setting

STABLE_SECONDS = 60.0
PANIC_SECONDS = 6.0
PANIC_THRESHOLD = 2.0
MAX_SCALE_UP_RATE = 1000.0
MAX_SCALE_DOWN_RATE = 2.0
KNATIVE_UTILIZATION = 0.7


@dataclass(frozen=True, slots=True)
class Panic:
    """Knative's panic mode: when it was last over the threshold, and the most pods since it began."""

    at: float
    most: int


def kpa(
    now: float, ready: int, target: float, state: Panic | None, *, stable: float, panic: float
) -> tuple[int, Panic | None]:
    """Knative's `Scale(now)`: pods for the mean concurrency over the stable and over the panic window.

    Panic begins when the short window asks for twice what is ready, lasts until a whole stable window has
    passed without that, and never scales down. Both answers are clamped to
    `[floor(ready / 2), ceil(ready * 1000)]`.
    """
    pods = max(1, ready)
    low, high = math.floor(pods / MAX_SCALE_DOWN_RATE), math.ceil(pods * MAX_SCALE_UP_RATE)
    for_stable = min(max(ceil(stable / target), low), high)
    for_panic = min(max(ceil(panic / target), low), high)
    if ceil(panic / target) / pods >= PANIC_THRESHOLD:
        state = Panic(now, state.most if state else 0)
    elif state and state.at + STABLE_SECONDS < now:
        state = None
    if state is None:
        return for_stable, None
    most = max(state.most, for_stable, for_panic)
    return most, Panic(state.at, most)


@dataclass(slots=True)
class Integral:
    """The gateway's integral of requests in flight, for exact means over windows."""

    points: deque[tuple[float, float]] = field(default_factory=lambda: deque([(0.0, 0.0)]))

    def add(self, now: float, total: float) -> None:
        """Remember one reading; keep the one that opens the stable window."""
        self.points.append((now, total))
        while len(self.points) > 1 and self.points[1][0] <= now - STABLE_SECONDS:
            self.points.popleft()

    def mean(self, now: float, seconds: float) -> float:
        """Mean over the last `seconds`, or over what there is of them."""
        opening = self.points[0]
        for point in self.points:
            if point[0] > now - seconds:
                break
            opening = point
        last = self.points[-1]
        return (last[1] - opening[1]) / (last[0] - opening[0]) if last[0] > opening[0] else 0.0


@dataclass(slots=True)
class Knative:
    """KPA: concurrency at the queue proxy and the activator, tick 2 s, target 100 at 70 % utilisation.

    The queue proxy drains: a pod that goes finishes what it has (`timeoutSeconds`, 300 s). Scale to zero and
    its grace of 30 s take no part, for no comparison here allows zero replicas.
    """

    target: float
    drain_seconds: float
    state: Panic | None = None
    integral: Integral = field(default_factory=Integral)
    name: str = "kpa"
    period_seconds: float = 2.0

    def replicas(self, seen: Seen, now: float) -> int:
        """One tick."""
        self.integral.add(now, seen.gateway.in_flight_seconds_total)
        stable = self.integral.mean(now, STABLE_SECONDS)
        panic = self.integral.mean(now, PANIC_SECONDS)
        wanted, self.state = kpa(now, seen.ready, self.target, self.state, stable=stable, panic=panic)
        return wanted


def knative(
    _setting: Setting, target: float = 100.0 * KNATIVE_UTILIZATION, drain_seconds: float = 300.0
) -> Knative:
    """The target is requests in flight per replica, utilisation included."""
    return Knative(target, drain_seconds)


KUBEAI_TICK_SECONDS = 10.0
KUBEAI_WINDOW_SECONDS = 600.0
KUBEAI_DOWN_SECONDS = 30.0


@dataclass(slots=True)
class KubeAI:
    """KubeAI 0.22: `ceil(moving average of requests in flight over 600 s / target)`, every 10 s.

    Read: the average starts full of zeros (so it takes 600 s to believe a new load), up at once, down when
    more than 30 s / 10 s ticks in a row asked for less. Scrapes do not fail in the simulator, so the skipped
    tick of a failed one takes no part. Inferred: pods get no drain, for nothing in the chart asks vLLM for
    one.
    """

    target: float
    drain_seconds: float
    history: deque[float] = field(
        default_factory=lambda: deque(
            [0.0] * round(KUBEAI_WINDOW_SECONDS / KUBEAI_TICK_SECONDS),
            maxlen=round(KUBEAI_WINDOW_SECONDS / KUBEAI_TICK_SECONDS),
        )
    )
    lower: int = 0
    name: str = "kubeai"
    period_seconds: float = KUBEAI_TICK_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:  # noqa: ARG002 - its windows count ticks
        """One tick."""
        if seen.ready == 0:
            return seen.desired
        self.history.append(float(seen.gateway.in_flight))
        wanted = ceil(sum(self.history) / len(self.history) / self.target)
        if wanted >= seen.desired:
            self.lower = 0
            return wanted
        if self.lower < KUBEAI_DOWN_SECONDS / KUBEAI_TICK_SECONDS:
            self.lower += 1
            return seen.desired
        return wanted


def kubeai(_setting: Setting, target: float = 100.0, drain_seconds: float = 0.0) -> KubeAI:
    """The target is `targetRequests`."""
    return KubeAI(target, drain_seconds)
