"""What the engines' samples prove about the load, and what they do not.

A gap in the evidence is a fact of its own: laws may still ask for more on what is known, but nothing may be
taken away on what is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from inferfleet.values import EngineSample, Layout, Worker

STALE_SECONDS = 15.0
"""A sample older than this proves nothing: several scrapes in a row have failed by then."""

YOUNG_SECONDS = 20.0
"""vLLM's gauges read 0 for about 18 s after a cold start (vllm#49538)."""

RATE_SECONDS = 15.0
"""Counters are turned into rates over this long."""

LEARN_SECONDS = 10.0
"""A replica that had a queue for this long shows what it can do."""

OVERLOAD_BOUND = 4.0
"""The most by which arrivals may outrun service before a window this short says nothing exact any more."""

Samples = tuple[EngineSample, ...]


class Evidence(StrEnum):
    """How much of the fleet in service the samples cover."""

    FRESH = "fresh"
    PARTIAL = "partial"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Load:
    """The fleet's load now. Rates are generated tokens per second; `capacity` is one replica's, 0 if unknown.

    `waiting`, `running` and `kv_usage` are sums over the replicas that stay; `kv_usage` in replicas' worth.
    `in_system` is the mean number of requests that run or wait, over the time that rates are taken over.
    `slots` is the batch that one replica runs at once, 0 if unknown. `gap` says what evidence is lacking.
    """

    ready: int
    starting: int
    waiting: float
    running: float
    kv_usage: float
    in_system: float
    tokens_per_second: float
    demand_tokens_per_second: float
    capacity_tokens_per_second: float
    slots: int
    evidence: Evidence
    gap: str = ""


def is_sane(sample: EngineSample) -> bool:
    """True if every number of the sample can be a measurement: NaN, infinite or negative ones cannot."""
    numbers = (
        sample.running,
        sample.waiting,
        sample.kv_usage,
        sample.prompt_tokens_total,
        sample.generation_tokens_total,
        sample.arrivals_total,
    )
    return all(number is None or (math.isfinite(number) and number >= 0) for number in numbers)


def remember(known: Samples, new: Samples, workers: Iterable[Worker], now: float) -> Samples:
    """The sane samples of the last `RATE_SECONDS` of workers that exist, each once, oldest first.

    The newest of each is kept however old: it tells of the work that a dead worker takes along.
    """
    names = {worker.name for worker in workers}
    sane = {
        (sample.at, sample.worker): sample
        for sample in (*known, *new)
        if sample.worker in names and is_sane(sample)
    }
    newest = {name: at for at, name in sorted(sane)}
    return tuple(sane[at, name] for at, name in sorted(sane) if at > now - RATE_SECONDS or newest[name] == at)


def fresh_samples(samples: Samples, now: float) -> dict[str, EngineSample]:
    """The newest sane sample of each worker, without those that are stale."""
    newest: dict[str, EngineSample] = {}
    for sample in samples:
        held = newest.get(sample.worker)
        if sample.at > now - STALE_SECONDS and is_sane(sample) and (held is None or sample.at >= held.at):
            newest[sample.worker] = sample
    return newest


def weigh(
    staying: Sequence[Worker],
    samples: Samples,
    layout: Layout | None,
    learned_tokens_per_second: float | None,
    now: float,
) -> Load:
    """Judge what `samples` (as `remember` returns them) prove about the load on the `staying` workers."""
    ready = [worker for worker in staying if worker.ready]
    newest = fresh_samples(samples, now)
    known = [newest[worker.name] for worker in ready if worker.name in newest]
    evidence, gap = _coverage(ready, newest, now)
    history = _by_worker(samples)
    rates = _token_rates(history)
    throughput = sum(rates.values())
    return Load(
        ready=len(ready),
        starting=len(staying) - len(ready),
        waiting=sum(sample.waiting for sample in known),
        running=sum(sample.running for sample in known),
        kv_usage=sum(sample.kv_usage or 0.0 for sample in known),
        in_system=sum(map(_mean_in_system, history.values())),
        tokens_per_second=throughput,
        demand_tokens_per_second=throughput * _overload(history),
        capacity_tokens_per_second=_capacity(ready, history, rates, layout, learned_tokens_per_second),
        slots=_slots(layout),
        evidence=evidence,
        gap=gap,
    )


def learn(
    staying: Sequence[Worker], samples: Samples, layout: Layout | None, known: float | None
) -> float | None:
    """The tokens per second of one replica that was saturated long enough, else what was known before.

    The median over saturated replicas, so that one slow node does not speak for all. A replica that does more
    than was known, with a batch that is not even full, proves the knowledge too low: its full batch counts.
    """
    history = _by_worker(samples)
    names = [worker.name for worker in staying if worker.ready]
    saturated = [rate for rate in (_saturated_rate(history.get(name, [])) for name in names) if rate > 0.0]
    if saturated:
        return median(saturated)
    if known is None:
        return None
    shown = [
        _full_batch_rate(history[name], _slots(layout))
        for name in names
        if _rate(history.get(name, [])) > known
    ]
    return max(shown, default=known)


def _coverage(
    ready: Sequence[Worker], newest: Mapping[str, EngineSample], now: float
) -> tuple[Evidence, str]:
    silent = [worker.name for worker in ready if worker.name not in newest]
    young = [worker.name for worker in ready if _is_young(worker, newest.get(worker.name), now)]
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


def _is_young(worker: Worker, sample: EngineSample | None, now: float) -> bool:
    since = worker.leader.ready_since
    idle = sample is not None and sample.running == 0 and sample.waiting == 0
    return idle and since is not None and since > now - YOUNG_SECONDS


def _by_worker(samples: Samples) -> dict[str, list[EngineSample]]:
    history: dict[str, list[EngineSample]] = {}
    for sample in samples:
        history.setdefault(sample.worker, []).append(sample)
    return history


def growth(totals: Sequence[float | None]) -> float:
    """How much a counter grew over a series; a fall is a restart from 0, and a gap is skipped."""
    known = [total for total in totals if total is not None]
    return sum(after - before if after >= before else after for before, after in itertools.pairwise(known))


def _rate(series: Sequence[EngineSample]) -> float:
    if len(series) < 2 or series[-1].at <= series[0].at:  # noqa: PLR2004 - a rate needs two points
        return 0.0
    return growth([sample.generation_tokens_total for sample in series]) / (series[-1].at - series[0].at)


def _token_rates(history: Mapping[str, list[EngineSample]]) -> dict[str, float]:
    return {name: _rate(series) for name, series in history.items()}


def _saturated_rate(series: Sequence[EngineSample]) -> float:
    """The rate over the newest unbroken run of samples with a queue; 0 if it is too short to tell."""
    run: list[EngineSample] = []
    for sample in reversed(series):
        if sample.waiting < 1:
            break
        run.insert(0, sample)
    return _rate(run) if run and run[-1].at - run[0].at >= LEARN_SECONDS else 0.0


def _mean_in_system(series: Sequence[EngineSample]) -> float:
    return sum(sample.running + sample.waiting for sample in series) / len(series)


def _full_batch_rate(series: Sequence[EngineSample], slots: int) -> float:
    """The rate that a full batch would have if each request kept its pace."""
    running = sum(sample.running for sample in series) / len(series)
    return _rate(series) * max(1.0, slots / max(1.0, running))


def _overload(history: Mapping[str, list[EngineSample]]) -> float:
    """Arrivals over what was let into a batch: throughput goes flat at overload, so it alone hides demand."""
    arrivals = sum(growth([sample.arrivals_total for sample in series]) for series in history.values())
    queued = sum(series[-1].waiting - series[0].waiting for series in history.values())
    admitted = arrivals - queued
    if queued <= 0 or admitted < 1:
        return 1.0
    return min(OVERLOAD_BOUND, arrivals / admitted)


def _capacity(
    ready: Sequence[Worker],
    history: Mapping[str, list[EngineSample]],
    rates: Mapping[str, float],
    layout: Layout | None,
    learned: float | None,
) -> float:
    if learned:
        return learned
    predicted = layout.prediction.tokens_per_second if layout else 0.0
    busiest = max((rates.get(worker.name, 0.0) for worker in ready if worker.name in history), default=0.0)
    return max(predicted, busiest) if predicted > 0 else 0.0


def _slots(layout: Layout | None) -> int:
    if layout is None:
        return 0
    limits = [limit for limit in (layout.max_num_seqs, layout.prediction.concurrency) if limit > 0]
    return min(limits, default=0)
