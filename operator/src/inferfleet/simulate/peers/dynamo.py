"""NVIDIA Dynamo's planner: forecast rate (throughput), and steps on predicted latency (load)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from inferfleet.simulate.peers.signals import Counters, ceil, tokens
from inferfleet.simulate.policy import ReplicaFacts, Seen, Setting
from inferfleet.values import Objectives

THROUGHPUT_SECONDS = 180.0
LOAD_SECONDS = 5.0
SENSITIVITY = 0.8
LENGTH_SECONDS = 180.0


@dataclass(slots=True)
class Throughput:
    """`ceil(forecast requests per second / requests per second of an engine within the SLA)`, every 180 s.

    Read: the law, one interval as horizon, the engine's rate from a profile at the mean lengths. Of its four
    predictors this is the constant one: the next interval is as the last. A tuned target scales the engine's
    rate. An interval without traffic forecasts 0 and asks for the minimum.
    """

    setting: Setting
    target: float
    drain_seconds: float
    arrivals: float = 0.0
    looked_at: float | None = None
    name: str = "dynamo-throughput"
    period_seconds: float = THROUGHPUT_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One interval."""
        total = float(seen.gateway.arrivals_total)
        span = now - (self.looked_at or 0.0)
        arrived, self.arrivals, self.looked_at = total - self.arrivals, total, now
        if span <= 0:
            return seen.desired
        lengths = mean_lengths(seen)
        if lengths is None:
            return seen.desired
        rate = self.setting.rated_requests_per_second(*lengths) * self.target
        return max(self.setting.min_replicas, ceil(arrived / span / rate))


def mean_lengths(seen: Seen) -> tuple[float, float] | None:
    """Mean prompt and output of what has arrived so far, as its frontend counts them."""
    gateway = seen.gateway
    if gateway.finished_total == 0:
        return None
    return (
        gateway.prompt_tokens_total / gateway.arrivals_total,
        gateway.output_tokens_total / gateway.finished_total,
    )


def dynamo_throughput(setting: Setting, target: float = 1.0, drain_seconds: float = 5.0) -> Throughput:
    """The target is the share of an engine's profiled rate that is planned with."""
    return Throughput(setting, target, drain_seconds)


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What one engine's forward-pass metrics say of it."""

    running: float
    waiting: float
    kv_tokens: float


def estimate(
    replica: ReplicaFacts, load: EngineLoad, prompt: float, scale: float = 1.0
) -> tuple[float, float]:
    """Time to first token and inter-token latency of the next request, at `scale` times this load.

    Its prompt runs after those that wait, a step budget at a time; its tokens share steps with the batch.
    """
    running = load.running * scale
    context = load.kv_tokens / load.running if load.running else prompt
    queued = (load.waiting * scale + 1.0) * prompt
    budget = max(1.0, replica.max_num_batched_tokens - running)
    step = replica.step.stage_seconds(running, min(queued, budget), context, prompt / 2) * replica.step.stages
    plain = replica.step.stage_seconds(running, 0.0, context, 0.0) * replica.step.stages
    return step * ceil(queued / budget), plain


def by_load(
    estimates: Sequence[tuple[float, float]],
    relieved: Sequence[tuple[float, float]],
    objectives: Objectives,
    sensitivity: float,
) -> int:
    """+1 if all engines exceed the TTFT or all the ITL; -1 if all, with one fewer, keep under 80 %."""
    ttft, itl = objectives.ttft_seconds or float("inf"), objectives.itl_seconds or float("inf")
    if all(first > ttft for first, _ in estimates) or all(each > itl for _, each in estimates):
        return 1
    if len(relieved) > 1 and all(
        first < sensitivity * ttft and each < sensitivity * itl for first, each in relieved
    ):
        return -1
    return 0


@dataclass(slots=True)
class Load:
    """Every 5 s: +1 if ALL engines are predicted to miss the SLA, -1 if load N/(N-1) keeps under 80 % of it.

    Read: nothing is done while replicas come or go, or while any engine does not report. Inferred: its
    regression is replaced by the speed model that the simulated engines themselves obey, which is in its
    favour.
    """

    setting: Setting
    sensitivity: float
    drain_seconds: float
    counters: Counters = field(default_factory=lambda: Counters(LENGTH_SECONDS))
    prompt_tokens: float = 0.0
    name: str = "dynamo-load"
    period_seconds: float = LOAD_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One tick."""
        self.counters.add(now, tokens(seen))
        grown = self.counters.increase()
        if grown and grown[2] > 0:
            self.prompt_tokens = grown[3] / grown[2]
        return seen.desired + self._step(seen)

    def _step(self, seen: Seen) -> int:
        settled = seen.pending == 0 and seen.ready == seen.desired == len(seen.samples)
        if not settled or not seen.samples or self.prompt_tokens <= 0:
            return 0
        replica = self.setting.replica
        loads = [
            EngineLoad(sample.running, sample.waiting, (sample.kv_usage or 0.0) * replica.kv_cache_tokens)
            for sample in seen.samples
        ]
        count = len(loads)
        relief = count / (count - 1) if count > 1 else 1.0
        return by_load(
            [estimate(replica, load, self.prompt_tokens) for load in loads],
            [estimate(replica, load, self.prompt_tokens, relief) for load in loads],
            self.setting.objectives,
            self.sensitivity,
        )


def dynamo_load(setting: Setting, target: float = SENSITIVITY, drain_seconds: float = 5.0) -> Load:
    """The target is the share of the SLA under which one fewer must stay."""
    return Load(setting, target, drain_seconds)
