"""Latencies at a percentile, from histograms, against the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from inferfleet.scaling.flows import Flows, latencies
from inferfleet.values import Buckets, Objectives

LONG_SECONDS = 60.0
SHORT_SECONDS = 15.0
"""A latency counts while both windows show it: the long one rules out chance, the short one the past."""

BURN = 3.0
"""Latencies ask for replicas where the misses that the percentile allows are used up so many times as fast.
Below that the learned capacity is corrected, which has the time for it."""

CHANCE = 2.0
"""So many standard deviations of a Poisson count may be chance."""

LEAST_SEEN = 20
"""Fewer requests than this in the long window show no percentile."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time to first token and inter-token latency at the percentile, and over their objectives.

    `lasting` is what it is as a share of its objective, where the last seconds show it too and it is more
    than chance; the seconds are None where too few requests show anything.
    """

    ttft_seconds: float | None = None
    itl_seconds: float | None = None
    lasting_ttft: float = 0.0
    lasting_itl: float = 0.0


def percentile(buckets: Buckets, share: float) -> float | None:
    """The value below which `share` of the observations lie, linear within a bucket as Prometheus has it.

    Beyond the last finite bound nothing is known but that: the bound itself is answered.
    """
    total = buckets.total
    if total <= 0:
        return None
    rank, lower, below = share * total, 0.0, 0.0
    for bound, count in zip(buckets.bounds, buckets.counts, strict=True):
        if count >= rank and count > below:
            return lower if bound == inf else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def above(buckets: Buckets, objective: float | None) -> float:
    """How many observations lie above an objective, linear within a bucket."""
    if not buckets or objective is None:
        return 0.0
    lower, below = 0.0, 0.0
    for bound, count in zip(buckets.bounds, buckets.counts, strict=True):
        if bound >= objective:
            share = 0.0 if bound == inf else (objective - lower) / (bound - lower)
            return buckets.total - below - share * (count - below)
        lower, below = bound, count
    return 0.0


def judge(flows: Flows, objectives: Objectives, since: float | None) -> Latency:
    """Judge the latencies of the last minute, or since the fleet last grew: those before tell of less."""
    age = LONG_SECONDS if since is None or not flows else min(LONG_SECONDS, flows[-1].at - since)
    if age <= 0:
        return Latency()
    long_ttft, long_itl = latencies(flows, age)
    short_ttft, short_itl = latencies(flows, min(age, SHORT_SECONDS))
    share = objectives.percentile / 100
    ttft = percentile(long_ttft, share) if _seen(long_ttft) else None
    itl = percentile(long_itl, share) if _seen(long_itl) else None
    late = _over(ttft, objectives.ttft_seconds)
    slow = _over(itl, objectives.itl_seconds)
    proven_late = is_proven(above(long_ttft, objectives.ttft_seconds), long_ttft.total, share, BURN)
    proven_slow = is_proven(above(long_itl, objectives.itl_seconds), long_itl.total, share, BURN)
    return Latency(
        ttft_seconds=ttft,
        itl_seconds=itl,
        lasting_ttft=_lasting(
            late, _over(percentile(short_ttft, share), objectives.ttft_seconds), proven_late
        ),
        lasting_itl=_lasting(slow, _over(percentile(short_itl, share), objectives.itl_seconds), proven_slow),
    )


def is_proven(missed: float, seen: float, share: float, burn: float = 1.0) -> bool:
    """True if `burn` times as many missed an objective as the percentile allows, and that is not chance.

    A 99th percentile of a minute is a handful of requests: over the objective half of the time at the very
    load that just meets it. Where so many times as many would be nearly all, half of the way to all counts.
    """
    within = seen * (1 - share)
    allowed = min(burn * within, (within + seen) / 2)
    return missed > allowed + CHANCE * sqrt(allowed)


def _lasting(long: float | None, short: float | None, proven: bool) -> float:
    return min(long or 0.0, short or 0.0) if proven else 0.0


def _seen(buckets: Buckets) -> bool:
    return buckets.total >= LEAST_SEEN


def _over(seconds: float | None, objective: float | None) -> float | None:
    return seconds / objective if seconds is not None and objective else None
