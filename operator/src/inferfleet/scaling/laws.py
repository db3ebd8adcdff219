"""How many replicas the load asks for. Each law speaks alone; the largest answer wins.

All laws answer in total replicas from total load, never in factors of what runs: a factor compounds while
replicas start (aibrix#2670), and a per-replica mean mistaken for a total scales the wrong way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from inferfleet.scaling.evidence import Load
from inferfleet.values import AutoscalingSpec

Law = Callable[[Load, AutoscalingSpec], int]


def queue_depth(load: Load, spec: AutoscalingSpec) -> int:
    """Enough replicas that no more than the tolerated number waits at each.

    A replica that is starting will take a full batch out of the queue: with that credit the queue must still
    be too long before even more are asked for.
    """
    if spec.target_queue_per_replica <= 0:
        return 0
    wanted = _ceil(load.waiting / spec.target_queue_per_replica)
    asked = load.ready + load.starting
    if load.starting == 0 or wanted <= asked:
        return wanted
    left = load.waiting - load.starting * load.slots
    return max(asked, _ceil(left / spec.target_queue_per_replica))


def token_rate(load: Load, spec: AutoscalingSpec) -> int:
    """Demand in tokens per second over what one replica gives at the target utilisation.

    Never more replicas than requests: a few long streams take whatever speed there is, and another replica
    would find nothing to do.
    """
    if load.capacity_tokens_per_second <= 0:
        return 0
    enough = load.demand_tokens_per_second / (load.capacity_tokens_per_second * spec.target_utilization)
    return min(_ceil(enough), _ceil(load.in_system))


def running_requests(load: Load, spec: AutoscalingSpec) -> int:
    """Requests in the batches over the batch of one replica at the target utilisation.

    A queue is 0 until saturation; this law sees saturation come, and holds what a queue no longer asks for.
    """
    if load.slots <= 0:
        return 0
    return _ceil(load.running / (load.slots * spec.target_utilization))


LAWS: tuple[tuple[str, Law], ...] = (
    ("queue", queue_depth),
    ("tokens", token_rate),
    ("running", running_requests),
)


def ask(load: Load, spec: AutoscalingSpec) -> tuple[tuple[str, int], ...]:
    """Every law's answer, by name."""
    return tuple((name, law(load, spec)) for name, law in LAWS)


def _ceil(value: float) -> int:
    """Round up, forgiving the float error of a division that should have come out whole."""
    return math.ceil(value - 1e-9)
