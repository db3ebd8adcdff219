"""How evenly requests are spread over the replicas: learned, for it is the router's doing and not ours."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

from inferfleet.scaling.evidence import in_service
from inferfleet.values import EngineSample, Flow, ScalingMemory, Worker
from inferfleet.values.frozen import replace

SPREAD_SECONDS = 300.0
"""The unevenness is a mean over about this long: some lifetimes of requests, which one look sees but once."""


def learn(
    memory: ScalingMemory, staying: tuple[Worker, ...], fresh: Mapping[str, EngineSample], news: Flow | None
) -> ScalingMemory:
    """Take in how far apart the replicas are: the variance of what is inside them over its mean.

    It is 1 where each request goes to any replica by chance (a Service), for then each holds a Poisson count,
    and next to 0 where it goes to the least loaded. One that came meanwhile is behind anyway.
    """
    if news is None:
        return memory
    since = news.at - SPREAD_SECONDS
    settled = [w.name for w in in_service(staying) if (w.leader.ready_since or 0) <= since]
    inside = [fresh[name].running + fresh[name].waiting for name in settled if name in fresh]
    if len(inside) <= 1 or sum(inside) < len(inside):
        return memory
    mean = sum(inside) / len(inside)
    variance = sum([(each - mean) ** 2 for each in inside]) / (len(inside) - 1)
    share = 1 - exp(-news.seconds / SPREAD_SECONDS)
    return replace(memory, unevenness=memory.unevenness + share * (variance / mean - memory.unevenness))
