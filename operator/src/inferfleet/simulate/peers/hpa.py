"""The HorizontalPodAutoscaler's controller (autoscaling/v2), on which most peers act.

Read: the Kubernetes documentation's algorithm (ratio, tolerance 0.1, missing and unready pods, several
metrics: the largest wins, a failed metric blocks scale-down only) and the API's default behaviour (up: at
once, the larger of 100 % and 4 pods in 15 s; down: the largest recommendation of 300 s, 100 % in 15 s).
Inferred: rate limits count what was asked for within the period, as `calculateScaleUpLimitWithScalingRules`
does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from inferfleet.simulate.peers.signals import ceil

TOLERANCE = 0.1
SYNC_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many pods, or so large a share of what there was, within a period. One of the two is set."""

    period_seconds: float
    pods: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Behavior:
    """`spec.behavior`: windows, and rates of which the one that allows most holds (selectPolicy Max)."""

    up_window_seconds: float = 0.0
    up: tuple[Rate, ...] = (Rate(15.0, share=1.0), Rate(15.0, pods=4))
    down_window_seconds: float = 300.0
    down: tuple[Rate, ...] = (Rate(15.0, share=1.0),)
    up_tolerance: float = TOLERANCE
    down_tolerance: float = TOLERANCE


def within_tolerance(ratio: float, behavior: Behavior) -> bool:
    """True where the metric is near enough to its target to leave things as they are."""
    return 1.0 - behavior.down_tolerance <= ratio <= 1.0 + behavior.up_tolerance


def from_total(current: int, total: float, target: float, behavior: Behavior | None = None) -> int:
    """An external metric with an average value: the total over the target, whatever the pods do."""
    if math.isnan(total):
        return current
    if current > 0 and within_tolerance(total / (target * current), behavior or Behavior()):
        return current
    return ceil(total / target)


def from_pods(
    current: int,
    values: Sequence[float],
    target: float,
    *,
    missing: int = 0,
    unready: int = 0,
    behavior: Behavior | None = None,
) -> int:
    """A pods metric: mean over the pods that report it.

    `missing` pods run without the metric: they count as at the target when the rest say down, as idle when
    the rest say up. `unready` (pending) pods count as idle when the rest say up. If that turns the answer
    around, nothing changes.
    """
    rules = behavior or Behavior()
    if not values:
        return current
    ratio = sum(values) / len(values) / target
    if missing == 0 and not (unready > 0 and ratio > 1.0):
        return current if within_tolerance(ratio, rules) else ceil(ratio * len(values))
    filled = list(values)
    if ratio < 1.0:
        filled += [target] * missing
    else:
        filled += [0.0] * (missing + unready)
    adjusted = sum(filled) / len(filled) / target
    turned = (ratio < 1.0 < adjusted) or (ratio > 1.0 > adjusted)
    if within_tolerance(adjusted, rules) or turned:
        return current
    wanted = ceil(adjusted * len(filled))
    if (adjusted < 1.0 and wanted > current) or (adjusted > 1.0 and wanted < current):
        return current
    return wanted


@dataclass(slots=True)
class Controller:
    """What the controller remembers: recommendations for the windows, changes for the rates.

    `recommend` takes what each metric asked for, None for one that could not be read.
    """

    minimum: int
    maximum: int
    behavior: Behavior = field(default_factory=Behavior)
    recommendations: deque[tuple[float, int]] = field(default_factory=deque)
    changes: deque[tuple[float, int]] = field(default_factory=deque)

    def recommend(self, now: float, current: int, answers: Sequence[int | None]) -> int:
        """The number to ask for now, after windows, rates and bounds."""
        known = [answer for answer in answers if answer is not None]
        if not known:
            return current
        wanted = max(known)
        if len(known) < len(answers):
            wanted = max(wanted, current)
        wanted = self._stabilize(now, current, wanted)
        wanted = self._rate(now, current, wanted)
        wanted = min(max(wanted, self.minimum), self.maximum)
        if wanted != current:
            self.changes.append((now, wanted - current))
        return wanted

    def _stabilize(self, now: float, current: int, wanted: int) -> int:
        """Not above the least of the up window, not below the most of the down window.

        A controller that has just begun takes what there is for its first recommendation.
        """
        rules = self.behavior
        if not self.recommendations:
            self.recommendations.append((now, current))
        keep = max(rules.up_window_seconds, rules.down_window_seconds)
        while self.recommendations and self.recommendations[0][0] <= now - keep:
            self.recommendations.popleft()
        up = min((n for at, n in self.recommendations if at > now - rules.up_window_seconds), default=wanted)
        down = max(
            (n for at, n in self.recommendations if at > now - rules.down_window_seconds), default=wanted
        )
        self.recommendations.append((now, wanted))
        settled = max(current, min(up, wanted)) if current < min(up, wanted) else current
        return min(settled, max(down, wanted))

    def _rate(self, now: float, current: int, wanted: int) -> int:
        rules = self.behavior
        longest = max((rate.period_seconds for rate in (*rules.up, *rules.down)), default=0.0)
        while self.changes and self.changes[0][0] <= now - longest:
            self.changes.popleft()
        if wanted > current:
            return min(wanted, max((self._ceiling(now, current, rate) for rate in rules.up), default=wanted))
        if wanted < current:
            return max(wanted, min((self._floor(now, current, rate) for rate in rules.down), default=wanted))
        return wanted

    def _within(self, now: float, period_seconds: float) -> tuple[int, int]:
        """Pods added and pods removed within the period."""
        recent = [change for at, change in self.changes if at > now - period_seconds]
        return sum(c for c in recent if c > 0), -sum(c for c in recent if c < 0)

    def _ceiling(self, now: float, current: int, rate: Rate) -> int:
        added, removed = self._within(now, rate.period_seconds)
        before = current - added + removed
        allowed = before + rate.pods if rate.pods is not None else ceil(before * (1.0 + (rate.share or 0.0)))
        return max(current, allowed)

    def _floor(self, now: float, current: int, rate: Rate) -> int:
        added, removed = self._within(now, rate.period_seconds)
        before = current - added + removed
        allowed = (
            before - rate.pods if rate.pods is not None else math.floor(before * (1.0 - (rate.share or 0.0)))
        )
        return min(current, allowed)
