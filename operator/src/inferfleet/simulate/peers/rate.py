"""Policies on the rate of requests alone: SkyServe, and a fixed number for the peak."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from inferfleet.simulate.peers.signals import ceil
from inferfleet.simulate.policy import Seen, Setting

QPS_SECONDS = 60.0
DECISION_SECONDS = 20.0
UPSCALE_DELAY_SECONDS = 300.0
DOWNSCALE_DELAY_SECONDS = 1200.0


@dataclass(slots=True)
class Hysteresis:
    """SkyServe's: a wish counts once it was on the same side of the target in enough decisions in a row."""

    ups: int = 0
    downs: int = 0

    def settle(self, current: int, wanted: int) -> int:
        """The target after one more decision."""
        if wanted > current:
            self.ups, self.downs = self.ups + 1, 0
            if self.ups >= UPSCALE_DELAY_SECONDS / DECISION_SECONDS:
                self.ups = 0
                return wanted
        elif wanted < current:
            self.ups, self.downs = 0, self.downs + 1
            if self.downs >= DOWNSCALE_DELAY_SECONDS / DECISION_SECONDS:
                self.downs = 0
                return wanted
        else:
            self.ups = self.downs = 0
        return current


@dataclass(slots=True)
class SkyServe:
    """`ceil(qps over 60 s / target)` every 20 s, up after 300 s and down after 1200 s.

    Inferred: the target, which its users must choose, is by default the rate that the plan foretells for one
    replica. Its users retry what a replica's end cut off; nothing here does that for them.
    """

    target: float
    drain_seconds: float
    hysteresis: Hysteresis = field(default_factory=Hysteresis)
    arrivals: deque[tuple[float, int]] = field(default_factory=lambda: deque([(0.0, 0)]))
    name: str = "skyserve"
    period_seconds: float = DECISION_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One decision."""
        self.arrivals.append((now, seen.gateway.arrivals_total))
        while self.arrivals[1][0] <= now - QPS_SECONDS:
            self.arrivals.popleft()
        qps = (self.arrivals[-1][1] - self.arrivals[0][1]) / QPS_SECONDS
        return self.hysteresis.settle(seen.desired, max(1, ceil(qps / self.target)))


def skyserve(setting: Setting, target: float = 1.0, drain_seconds: float = 0.0) -> SkyServe:
    """The target is the share of one replica's foretold rate that counts as its load."""
    workload = setting.workload
    rated = setting.rated_requests_per_second(workload.prompt_tokens, workload.output_tokens)
    return SkyServe(rated * target, drain_seconds)


PEAK_SECONDS = 60.0


@dataclass(slots=True)
class Static:
    """A fixed number of replicas. It knows the highest rate to come, as capacity planners hope to."""

    count: int
    drain_seconds: float = 0.0
    name: str = "static-peak"
    period_seconds: float = 60.0

    def replicas(self, seen: Seen, now: float) -> int:  # noqa: ARG002 - whatever it sees
        """Always the same."""
        return self.count


def static_peak(setting: Setting, target: float = 1.0, drain_seconds: float = 0.0) -> Static:
    """Replicas for the busiest minute, at that share of the rate that a profile gives one replica."""
    minutes: dict[int, tuple[int, int, int]] = {}
    for request in setting.arrivals():
        count, prompt, output = minutes.get(int(request.at // PEAK_SECONDS), (0, 0, 0))
        minutes[int(request.at // PEAK_SECONDS)] = (
            count + 1,
            prompt + request.prompt_tokens,
            output + request.output_tokens,
        )
    needed = [
        count / PEAK_SECONDS / setting.rated_requests_per_second(prompt / count, output / count)
        for count, prompt, output in minutes.values()
    ]
    return Static(max(setting.min_replicas, ceil(max(needed, default=0.0) / target)), drain_seconds)
