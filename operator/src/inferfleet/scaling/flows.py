"""What went through the fleet: engines' counters turned into spans of fleet-wide growth.

A span holds sums over all replicas, so that a pass over a hundred of them is one walk through their newest
samples, however long the windows are that laws look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from operator import attrgetter, sub

from inferfleet.values import NO_BUCKETS, Buckets, EngineSample, Flow, Worker
from inferfleet.values.remembered import remembered

STALE_SECONDS = 15.0
"""A sample older than this proves nothing: several scrapes in a row have failed by then."""

YOUNG_SECONDS = 20.0
"""vLLM's gauges read 0 for about 18 s after a cold start (vllm#49538), and its caches are cold."""

SPAN_SECONDS = 5.0
"""Looks closer together than this share a span: vLLM's gauges lag by 3 to 6 s anyway."""

KEEP_SECONDS = 60.0
"""How far back any law looks."""

Flows = tuple[Flow, ...]

Pairs = Sequence[tuple[EngineSample, EngineSample]]
"""Two samples of each replica, the older one first."""


def is_sane(sample: EngineSample) -> bool:
    """True if every number of the sample can be a measurement: NaN, infinite or negative ones cannot."""
    return (
        0.0 <= sample.running < inf
        and 0.0 <= sample.waiting < inf
        and 0.0 <= (sample.kv_usage or 0.0) < inf
        and 0.0 <= (sample.prompt_tokens_total or 0.0) < inf
        and 0.0 <= (sample.generation_tokens_total or 0.0) < inf
        and 0.0 <= (sample.arrivals_total or 0.0) < inf
        and 0.0 <= (sample.requests_total or 0.0) < inf
        and 0.0 <= (sample.request_prompt_tokens_total or 0.0) < inf
        and 0.0 <= (sample.request_output_tokens_total or 0.0) < inf
    )


def newest(known: Mapping[str, EngineSample], new: Iterable[EngineSample]) -> dict[str, EngineSample]:
    """The newest sane sample of each worker; those that are `known` were looked at before."""
    found = dict(known)
    for sample in new:
        held = found.get(sample.worker)
        if (held is None or sample.at > held.at) and is_sane(sample):
            found[sample.worker] = sample
    return found


def fresh(samples: Mapping[str, EngineSample], now: float) -> dict[str, EngineSample]:
    """Those of `samples` that are not stale."""
    since = now - STALE_SECONDS
    return {name: sample for name, sample in samples.items() if sample.at > since}


def growth(before: float | None, after: float | None) -> float | None:
    """How much a counter grew; a fall is a restart from 0, and an unknown end leaves it unknown."""
    if before is None or after is None:
        return None
    return after - before if after >= before else after


def record(
    flows: Flows,
    before: Mapping[str, EngineSample],
    after: Mapping[str, EngineSample],
    workers: tuple[Worker, ...],
    busy_queue: float,
) -> tuple[Flows, Flow | None]:
    """Add what `after` shows over `before`, the newest sample of each worker then and now.

    `busy_queue` is how many must wait at a replica for its pace to be its most. Also returns what was added,
    None where no sample is new.
    """
    moved = [(old, new) for name, new in after.items() if (old := before.get(name)) and new.at > old.at]
    at = max([new.at for _, new in moved], default=0.0)
    began = flows[-1].at if flows else max([old.at for old, _ in moved], default=0.0)
    if at <= began:
        return flows, None
    total = _flow(
        at,
        (at - began, *_grown(moved, at - began, _ready_since(workers), busy_queue)),
        ttft=_growth_of(moved, attrgetter("ttft_buckets")),
        itl=_growth_of(moved, _itl),
    )
    kept = tuple(flow for flow in flows if flow.at > at - KEEP_SECONDS)
    if kept and kept[-1].seconds < SPAN_SECONDS:
        return (*kept[:-1], merge((kept[-1], total))), total
    return (*kept, total), total


@remembered
def _ready_since(workers: tuple[Worker, ...]) -> Mapping[str, float | None]:
    return {worker.name: worker.leader.ready_since for worker in workers if worker.ready}


def merge(flows: Sequence[Flow]) -> Flow:
    """One span over all of them, which follow each other."""
    return _totals(flows, *_latencies(flows))


def within(flows: Flows, seconds: float) -> Flow | None:
    """One span over the last so many seconds that are known, without its histograms; None without any."""
    return _totals(_last(flows, seconds)) if flows else None


def latencies(flows: Flows, seconds: float) -> tuple[Buckets, Buckets]:
    """Times to first token and inter-token latencies of the last so many seconds."""
    return _latencies(_last(flows, seconds)) if flows else (NO_BUCKETS, NO_BUCKETS)


def _latencies(flows: Sequence[Flow]) -> tuple[Buckets, Buckets]:
    return _sum_of([flow.ttft for flow in flows]), _sum_of([flow.itl for flow in flows])


def _last(flows: Flows, seconds: float) -> Sequence[Flow]:
    start = flows[-1].at - seconds
    return [flow for flow in flows if flow.at - flow.seconds / 2 > start] or flows[-1:]


_ADDED = attrgetter(
    *("seconds", "arrivals", "finished", "prompt_tokens", "output_tokens", "generated", "replica_seconds"),
    *("busy_seconds", "busy_tokens", "in_system_seconds", "waiting_seconds"),
)
"""What of Flow is summed, in the order of its fields."""


def _totals(flows: Sequence[Flow], ttft: Buckets = NO_BUCKETS, itl: Buckets = NO_BUCKETS) -> Flow:
    return _flow(flows[-1].at, map(sum, zip(*map(_ADDED, flows), strict=True)), ttft, itl)


def _flow(at: float, added: Iterable[float], ttft: Buckets, itl: Buckets) -> Flow:
    return Flow(at, *added, ttft=ttft, itl=itl)  # type: ignore[misc, arg-type] # in the order of fields


def _grown(
    moved: Pairs, seconds: float, ready_since: Mapping[str, float | None], busy_queue: float
) -> tuple[float, ...]:
    """The growth of all replicas between two samples of each, in the order of Flow's fields.

    What a silent one catches up on is cut to the span.
    """
    came = tokens = served = busy_seconds = busy_tokens = inside = waiting = 0.0
    ended: float = 0
    prompts: float = 0
    outputs: float = 0
    for old, new in moved:
        passed = new.at - old.at
        share = min(1.0, seconds / passed)
        before, after = old.running + old.waiting, new.running + new.waiting
        generated = growth(old.generation_tokens_total, new.generation_tokens_total) or 0.0
        arrivals = growth(old.arrivals_total, new.arrivals_total)
        finished = growth(old.requests_total, new.requests_total)
        if finished is None:
            finished = max(0.0, (arrivals or 0.0) - (after - before))
            prompts += growth(old.prompt_tokens_total, new.prompt_tokens_total) or 0.0
            outputs += generated
        else:
            prompts += growth(old.request_prompt_tokens_total, new.request_prompt_tokens_total) or 0.0
            outputs += growth(old.request_output_tokens_total, new.request_output_tokens_total) or 0.0
        came += (max(0.0, finished + after - before) if arrivals is None else arrivals) * share
        ended += finished
        tokens += generated * share
        inside += (before + after) / 2 * passed * share
        waiting += (old.waiting + new.waiting) / 2 * passed * share
        since = ready_since.get(new.worker)
        if since is not None:
            served += passed * share
            if since <= old.at - YOUNG_SECONDS and min(old.waiting, new.waiting) >= busy_queue:
                busy_seconds += passed
                busy_tokens += generated
    return came, ended, prompts, outputs, tokens, served, busy_seconds, busy_tokens, inside, waiting


def _itl(sample: EngineSample) -> Buckets:
    """Requests by their mean, as objectives have it; single tokens only where an engine tells no more.

    The tail of single tokens is the length of a step with a prompt in it, whatever the load.
    """
    return sample.request_itl_buckets if sample.request_itl_buckets.counts else sample.itl_buckets


def _growth_of(moved: Pairs, read: Callable[[EngineSample], Buckets]) -> Buckets:
    """The sum of how much cumulative histograms grew; one that shrank was restarted, and counts from 0."""
    more, less = [], []
    for before, after in moved:
        old, new = read(before), read(after)
        if new is not old and len(new.counts) == len(old.counts):
            total, now = old.total, new.total
            if now != total:
                more.append(new)
            if now > total:
                less.append(old)
    grew, was = _sum_of(more), _sum_of(less)
    if len(was.counts) != len(grew.counts):
        return grew
    return Buckets(grew.bounds, tuple(map(sub, grew.counts, was.counts)))


def _sum_of(histograms: Sequence[Buckets]) -> Buckets:
    """The sum of histograms over the same bounds; those over other bounds than the last are left out."""
    told = [histogram for histogram in histograms if histogram.counts]
    if not told:
        return NO_BUCKETS
    bounds = told[-1].bounds
    counts = [histogram.counts for histogram in told if histogram.bounds == bounds]
    return Buckets(bounds, tuple(map(sum, zip(*counts, strict=True))))
