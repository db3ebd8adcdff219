"""llm-d's Workload Variant Autoscaler (deprecated): spare capacity (V1) and tokens (V2), every 30 s.

Both publish a wish that an HPA acts on as an external metric; inferred: with the HPA's default behaviour.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from inferfleet.simulate.peers.hpa import Controller, from_total
from inferfleet.simulate.peers.signals import Counters, Window, ceil, tokens
from inferfleet.simulate.policy import Seen, Setting

INTERVAL_SECONDS = 30.0
MAX_SECONDS = 60.0
QUEUE_THRESHOLD = 5.0
KV_SPARE_TRIGGER = 0.10
QUEUE_SPARE_TRIGGER = 3.0


def saturation(loads: Sequence[tuple[float, float]], kv_threshold: float) -> int:
    """V1: +1, 0 or -1 for (KV usage, queue) of each replica.

    A replica is saturated at the KV threshold or at 5 waiting. Up if the mean spare KV of the others is below
    0.10 or their mean spare queue below 3, or if there are no others. Down if one fewer of them, carrying the
    same total, still keeps both.
    """
    others = [(kv, queue) for kv, queue in loads if kv < kv_threshold and queue < QUEUE_THRESHOLD]
    if not others:
        return 1
    kv, queue = sum(kv for kv, _ in others), sum(queue for _, queue in others)
    if kv_threshold - kv / len(others) < KV_SPARE_TRIGGER:
        return 1
    if QUEUE_THRESHOLD - queue / len(others) < QUEUE_SPARE_TRIGGER:
        return 1
    rest = len(others) - 1
    if rest < 1:
        return 0
    keeps_kv = kv_threshold - kv / rest >= KV_SPARE_TRIGGER
    keeps_queue = QUEUE_THRESHOLD - queue / rest >= QUEUE_SPARE_TRIGGER
    return -1 if keeps_kv and keeps_queue else 0


@dataclass(slots=True)
class SpareCapacity:
    """V1, on each replica's largest KV usage and queue of a minute; no more while any is pending."""

    kv_threshold: float
    controller: Controller
    drain_seconds: float
    gauges: dict[str, tuple[Window, Window]] = field(default_factory=dict)
    name: str = "wva-v1"
    period_seconds: float = INTERVAL_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One tick; replicas that do not answer take no part, and none at all changes nothing."""
        known = {sample.worker: sample for sample in seen.samples}
        self.gauges = {name: windows for name, windows in self.gauges.items() if name in known}
        for name, sample in known.items():
            kv, queue = self.gauges.setdefault(name, (Window(MAX_SECONDS), Window(MAX_SECONDS)))
            kv.add(now, sample.kv_usage or 0.0)
            queue.add(now, sample.waiting)
        if not self.gauges:
            return seen.desired
        step = saturation([(kv.max(), queue.max()) for kv, queue in self.gauges.values()], self.kv_threshold)
        if step > 0 and seen.pending > 0:
            step = 0
        answer = from_total(seen.desired, max(1, seen.desired + step), 1.0)
        return self.controller.recommend(now, seen.desired, [answer])


def wva_v1(setting: Setting, target: float = 0.80, drain_seconds: float = 30.0) -> SpareCapacity:
    """The target is the KV usage at which a replica counts as saturated."""
    return SpareCapacity(target, Controller(setting.min_replicas, setting.max_replicas), drain_seconds)


UP_THRESHOLD = 0.85
DOWN_BOUNDARY = 0.70
KV_THRESHOLD = 0.80
K2_HISTORY = 10
SHORT_OUTPUT = 100
MEDIUM_OUTPUT = 500


def derived_k2(batched_tokens: float, sequences: float, prompt: float, output: float) -> float:
    """V2's compute bound before any was observed: `N (I + O/2)`, `N = min(B O / (I + O), S)`."""
    if output <= 0:
        return 0.0
    steady = min(batched_tokens * output / (prompt + output), sequences)
    return float(int(steady * (prompt + output / 2)))


def step_by_tokens(
    demand: float, capacity: float, ready: int, pending: int, up_threshold: float = UP_THRESHOLD
) -> int:
    """Replicas to add (pending ones are credited), or to take away, or 0.

    need = demand / 0.85 - (ready + pending) capacity; spare = ready capacity - demand / 0.70.
    """
    if capacity <= 0:
        return 0
    need = demand / up_threshold - (ready + pending) * capacity
    if need > 0:
        return ceil(need / capacity)
    spare = ready * capacity - demand / (up_threshold * DOWN_BOUNDARY / UP_THRESHOLD)
    return -math.floor(spare / capacity + 1e-9) if spare > 0 else 0


@dataclass(slots=True)
class TokenCapacity:
    """V2: tokens in use and queued over min(k1, k2) of a replica.

    k1 = KV tokens x 0.8. k2 = the tokens in use at a replica whose queue reached 5, else the mean of the last
    10 such observations for outputs of about that length, else derived from the engine's limits. Demand
    counts the mean prompt for each waiting request (newer sources add the output); capacity is the median
    over replicas. Inferred: mean lengths over the last minute's finished requests.
    """

    setting: Setting
    up_threshold: float
    controller: Controller
    drain_seconds: float
    counters: Counters = field(default_factory=lambda: Counters(MAX_SECONDS))
    history: dict[str, deque[float]] = field(default_factory=dict)
    lengths: tuple[float, float] = (0.0, 0.0)
    name: str = "wva-v2"
    period_seconds: float = INTERVAL_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One tick; none that answers changes nothing."""
        self.counters.add(now, tokens(seen))
        grown = self.counters.increase()
        if grown and grown[2] > 0:
            self.lengths = (grown[3] / grown[2], grown[4] / grown[2])
        if not seen.samples:
            return seen.desired
        prompt, _output = self.lengths
        total = self.setting.replica.kv_cache_tokens
        demand = sum((sample.kv_usage or 0.0) * total + sample.waiting * prompt for sample in seen.samples)
        capacity = median(
            [self._capacity((sample.kv_usage or 0.0) * total, sample.waiting) for sample in seen.samples]
        )
        step = step_by_tokens(demand, capacity, seen.ready, seen.pending, self.up_threshold)
        answer = from_total(seen.desired, max(1, seen.ready + seen.pending + step), 1.0)
        return self.controller.recommend(now, seen.desired, [answer])

    def _capacity(self, in_use: float, queue: float) -> float:
        replica = self.setting.replica
        k1 = replica.kv_cache_tokens * KV_THRESHOLD
        prompt, output = self.lengths
        bucket = "short" if output < SHORT_OUTPUT else "medium" if output < MEDIUM_OUTPUT else "long"
        if queue >= QUEUE_THRESHOLD and in_use > 0:
            self.history.setdefault(bucket, deque(maxlen=K2_HISTORY)).append(in_use)
            return min(k1, in_use)
        if seen := self.history.get(bucket):
            return min(k1, sum(seen) / len(seen))
        return min(k1, derived_k2(replica.max_num_batched_tokens, replica.max_num_seqs, prompt, output) or k1)


def wva_v2(setting: Setting, target: float = UP_THRESHOLD, drain_seconds: float = 30.0) -> TokenCapacity:
    """The target is the share of capacity above which it scales up; the lower boundary moves with it."""
    return TokenCapacity(
        setting, target, Controller(setting.min_replicas, setting.max_replicas), drain_seconds
    )
