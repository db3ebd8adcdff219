"""llm-d's SLO law: P90 latencies over their objectives, through KEDA and an HPA."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from inferfleet.simulate.peers.hpa import Behavior, Controller, Rate
from inferfleet.simulate.peers.signals import Histogram, Window, ceil
from inferfleet.simulate.policy import Seen, Setting

QUANTILE = 0.9
RATE_SECONDS = 60.0
SMOOTHING_SECONDS = 45.0
CLAMP = 2.0
SCALE_UP_AT = 0.55
SCALE_DOWN_AT = 0.40

BEHAVIOR = Behavior(
    up_window_seconds=30.0,
    up=(Rate(60.0, share=1.0), Rate(60.0, pods=4)),
    down_window_seconds=180.0,
    down=(Rate(120.0, pods=1),),
)


def saturation(ttft: float, itl: float, ttft_objective: float | None, itl_objective: float | None) -> float:
    """`min(max(ttft / slo, itl / slo), 2)`; what was not measured, or has no objective, counts as 0."""
    shares = [
        value / objective
        for value, objective in ((ttft, ttft_objective), (itl, itl_objective))
        if objective and not math.isnan(value)
    ]
    return min(max(shares, default=0.0), CLAMP)


def wish(asked: int, ready: int, share: float, scale_up_at: float, scale_down_at: float) -> int:
    """Replicas for a smoothed saturation.

    Above the upper threshold `n + ceil(n (s c / 0.55 - 1))` with `c = ready / n`, so that replicas that warm
    up are credited; below the lower one `n - floor(n (1 - s / 0.40))` without credit.
    """
    if asked <= 0:
        return 1
    if share > scale_up_at:
        return asked + max(0, ceil(asked * (share * (ready / asked) / scale_up_at - 1.0)))
    if share < scale_down_at:
        return asked - math.floor(asked * (1.0 - share / scale_down_at) + 1e-9)
    return asked


@dataclass(slots=True)
class SloLaw:
    """The guide's loop: rules every 15 s, up max(100 %, 4) in 60 s after 30 s, down 1 in 120 s after 180 s.

    Read: quantile over one-minute rates, no traffic counts as 0, clamp and mean over 45 s. The endpoint
    picker's histograms are taken to be the sums of the engines'. TPOT is taken to be the inter-token latency.
    """

    setting: Setting
    scale_up_at: float
    controller: Controller
    drain_seconds: float
    ttft: Histogram = field(default_factory=lambda: Histogram(RATE_SECONDS))
    itl: Histogram = field(default_factory=lambda: Histogram(RATE_SECONDS))
    smoothed: Window = field(default_factory=lambda: Window(SMOOTHING_SECONDS))
    name: str = "llmd-slo"
    period_seconds: float = 15.0

    def replicas(self, seen: Seen, now: float) -> int:
        """One evaluation."""
        self.ttft.add(now, ((sample.worker, sample.ttft_buckets) for sample in seen.samples))
        self.itl.add(now, ((sample.worker, sample.itl_buckets) for sample in seen.samples))
        objectives = self.setting.objectives
        share = saturation(
            self.ttft.quantile(QUANTILE),
            self.itl.quantile(QUANTILE),
            objectives.ttft_seconds,
            objectives.itl_seconds,
        )
        self.smoothed.add(now, share)
        scale_down_at = self.scale_up_at * SCALE_DOWN_AT / SCALE_UP_AT
        wanted = wish(seen.desired, seen.ready, self.smoothed.mean(), self.scale_up_at, scale_down_at)
        return self.controller.recommend(now, seen.desired, [wanted])


def llmd_slo(setting: Setting, target: float = SCALE_UP_AT, drain_seconds: float = 30.0) -> SloLaw:
    """The target is the share of the objective above which it goes up; the lower one moves with it."""
    return SloLaw(
        setting, target, Controller(setting.min_replicas, setting.max_replicas, BEHAVIOR), drain_seconds
    )
