"""What the engines' samples prove about the load, and what they do not.

A gap in the evidence is a fact of its own: laws may still ask for more on what is known, but nothing may be
taken away on what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, inf, sqrt

from inferfleet.scaling import staffing
from inferfleet.scaling.flows import STALE_SECONDS, YOUNG_SECONDS, Flows, within
from inferfleet.scaling.latency import CHANCE, Latency
from inferfleet.values import EngineSample, Flow, Layout, Worker
from inferfleet.values.remembered import remembered

RATE_SECONDS = 60.0
"""Arrivals are counted over this long: shorter is chance, longer is late."""

SHORTEST_BURST_SECONDS, LONGEST_BURST_SECONDS = 10.0, 30.0
"""The short window that tells a burst is as long as a request is served: a crowd that is shorter than its own
service is spread by it."""

SHIFT = 3.0
"""A minute that is so many standard deviations of chance above the level is a new level. It is looked at
every few seconds, and in so many looks two are seen all the time."""

NOW_SECONDS = 15.0
"""What is in the engines now is a mean over this long."""

LOADED = 0.5
"""Below this share of its capacity a replica is not slow for want of others."""

FULL_CACHE = 0.8
"""From this usage on, what waits does so for cache: longer requests wait for more blocks than are left."""

SHRINKS = 0.95
"""A queue below this share of what it was half a minute ago is being served."""


class Evidence(StrEnum):
    """How much of the fleet in service the samples cover."""

    FRESH = "fresh"
    PARTIAL = "partial"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Load:
    """The fleet's load now. Rates in tokens are generated ones.

    `capacity` is that of each replica of those that serve now, 0 if unknown; each of very many behind one
    queue would take `pooling` times what one alone takes.

    `asked` is how many replicas were asked for last: stand-ins, over-provision and surge come on top of them.
    `waiting`, `running` and `kv_usage` are sums over the replicas that stay; `kv_usage` in replicas' worth.
    `in_system` are the requests that run or wait, now and as a mean of late. `burst_per_second` are the
    arrivals of the last seconds, less what may be chance; `output_tokens` are of the mean request. `forecast`
    is the demand a cold start ahead by `foreseen_by` (as it is where that is empty), and its usual error.
    `slots` is the batch that one replica runs at once, 0 if unknown. `joined_seconds` is how long ago
    replicas came to those that served already. `easing` is True while the queue becomes shorter.
    `unevenness` is how far apart the replicas are, 1 as chance alone has it. `gap` says what evidence is
    lacking.
    """

    ready: int
    starting: int
    asked: float = inf
    waiting: float = 0.0
    running: float = 0.0
    kv_usage: float = 0.0
    in_system: float = 0.0
    in_system_lately: float = 0.0
    arrivals_per_second: float = 0.0
    level_tokens_per_second: float | None = None
    burst_per_second: float = 0.0
    output_tokens: float = 0.0
    tokens_per_second: float = 0.0
    capacity_tokens_per_second: float = 0.0
    forecast_tokens_per_second: float = 0.0
    forecast_error_tokens_per_second: float = 0.0
    foreseen_by: str = ""
    slots: float = 0.0
    easing: bool = False
    unevenness: float = 1.0
    pooling: float = 1.0
    latency: Latency = field(default_factory=Latency)
    ttft_objective_seconds: float | None = None
    cold_start_seconds: float = 0.0
    joined_seconds: float = inf
    evidence: Evidence = Evidence.FRESH
    gap: str = ""

    @property
    def demand_tokens_per_second(self) -> float:
        """What the arrivals ask for: their level, unless the last minute is above it by more than chance.

        A minute below it lets nothing go: that waits for the level.
        """
        counted, level = self.arrivals_per_second * self.output_tokens, self.level_tokens_per_second
        chance = SHIFT * self.output_tokens * sqrt(self.arrivals_per_second / RATE_SECONDS)
        return counted if level is None or counted - level > chance else level

    @property
    def underway(self) -> int:
        """Replicas that were asked for and serve or are on their way.

        A law that answered with what comes on top of those would get as many again on top of that.
        """
        return int(min(self.ready + self.starting, self.asked))

    @property
    def is_loaded(self) -> bool:
        """True while the replicas in service have enough to do for load to explain their latencies."""
        able = self.ready * self.capacity_tokens_per_second
        return self.waiting > self.ready or self.tokens_per_second >= LOADED * able > 0

    def replicas_for(self, tokens_per_second: float, utilization: float = 1.0, error: float = 0.0) -> float:
        """How many replicas such a demand, known to that error, needs; 0 while the capacity is unknown."""
        able = self.capacity_tokens_per_second / self.gain * utilization
        if able <= 0:
            return 0.0
        return staffing.replicas_for(tokens_per_second / able, error / able, self.pooling, self.unevenness)

    @property
    def gain(self) -> float:
        """How many times what one takes alone each of the replicas in service takes."""
        return staffing.gain(max(1, self.ready), self.pooling, self.unevenness)


def round_up(replicas: float) -> int:
    """Round up, forgiving the float error of a division that should have come out whole."""
    return ceil(replicas - 1e-9)


def weigh(
    staying: tuple[Worker, ...],
    fresh: Mapping[str, EngineSample],
    flows: Flows,
    layout: Layout | None,
    now: float,
) -> Load:
    """Judge what the `fresh` samples and the `flows` prove about the load on the `staying` workers."""
    ready = in_service(staying)
    known = [fresh[worker.name] for worker in ready if worker.name in fresh]
    evidence, gap = _coverage(ready, fresh, now)
    minute, lately = within(flows, RATE_SECONDS), within(flows, NOW_SECONDS)
    waiting = sum([sample.waiting for sample in known])
    running = sum([sample.running for sample in known])
    inside = _inside(lately) if lately else waiting + running
    return Load(
        ready=len(ready),
        starting=len(staying) - len(ready),
        waiting=waiting,
        running=running,
        kv_usage=sum([sample.kv_usage or 0.0 for sample in known]),
        in_system=waiting + running,
        in_system_lately=inside,
        arrivals_per_second=_per_second(minute, minute.arrivals) if minute else 0.0,
        burst_per_second=_burst_per_second(flows, minute),
        tokens_per_second=_per_second(minute, minute.generated) if minute else 0.0,
        slots=_slots(known, layout),
        easing=_is_easing(flows),
        evidence=evidence,
        gap=gap,
    )


@remembered
def in_service(workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
    """Those of the workers that the endpoints carry."""
    return tuple(worker for worker in workers if worker.ready)


def _coverage(ready: Sequence[Worker], fresh: Mapping[str, EngineSample], now: float) -> tuple[Evidence, str]:
    silent = [worker.name for worker in ready if worker.name not in fresh]
    after = now - YOUNG_SECONDS
    came = [w.name for w in ready if (since := w.leader.ready_since) is not None and since > after]
    young = [name for name in came if _is_idle(fresh.get(name))]
    if not ready:
        return Evidence.MISSING, "no replica is ready"
    if len(silent) == len(ready):
        return (
            Evidence.MISSING,
            f"no sample of the last {STALE_SECONDS:g} s from any of {len(ready)} replicas",
        )
    if silent:
        return Evidence.PARTIAL, f"no sample of the last {STALE_SECONDS:g} s from {', '.join(silent)}"
    if young:
        return Evidence.PARTIAL, f"{', '.join(young)} just started, its gauges still read 0"
    return Evidence.FRESH, ""


def _is_idle(sample: EngineSample | None) -> bool:
    return sample is not None and sample.running == 0 and sample.waiting == 0


def _burst_per_second(flows: Flows, minute: Flow | None) -> float:
    """The arrivals of the last seconds, less what may be chance."""
    if minute is None or minute.arrivals <= 0:
        return 0.0
    served = minute.in_system_seconds / minute.arrivals
    seconds = within(flows, max(SHORTEST_BURST_SECONDS, min(LONGEST_BURST_SECONDS, served)))
    if seconds is None:
        return 0.0
    return _per_second(seconds, max(0.0, seconds.arrivals - CHANCE * seconds.arrivals**0.5))


def _per_second(flow: Flow, amount: float) -> float:
    return amount / flow.seconds if flow.seconds > 0 else 0.0


def _is_easing(flows: Flows) -> bool:
    """True while the queue becomes shorter."""
    lately = within(flows, 2 * NOW_SECONDS)
    if lately is None:
        return False
    last = flows[-1]
    return _per_second(last, last.waiting_seconds) < SHRINKS * _per_second(lately, lately.waiting_seconds)


def _inside(flow: Flow | None) -> float:
    return _per_second(flow, flow.in_system_seconds) if flow else 0.0


def _slots(known: Sequence[EngineSample], layout: Layout | None) -> float:
    """The mean batch of a replica: by the plan, and as it is at those where requests wait for cache."""
    planned = [layout.max_num_seqs, layout.prediction.concurrency] if layout else []
    limit = min((slots for slots in planned if slots > 0), default=0)
    if not limit or not known:
        return float(limit)
    return sum([min(limit, sample.running) if _is_full(sample) else limit for sample in known]) / len(known)


def _is_full(sample: EngineSample) -> bool:
    """True if requests wait at this batch for cache."""
    return sample.waiting >= 1 and sample.running >= 1 and (sample.kv_usage or 0.0) >= FULL_CACHE
