"""Compose evidence, learning, foresight, laws and pace into one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from inferfleet.scaling import (
    capacity,
    evidence,
    flows,
    foresight,
    latency,
    laws,
    pace,
    rules,
    say,
    spread,
    staffing,
    starts,
)
from inferfleet.scaling.evidence import Evidence, Load
from inferfleet.scaling.rules import Rules
from inferfleet.values import (
    AutoscalingMode,
    AutoscalingSpec,
    EngineSample,
    Layout,
    Objectives,
    ScalingDecision,
    ScalingMemory,
    Worker,
    Workload,
)
from inferfleet.values.frozen import replace


@dataclass(frozen=True, slots=True)
class Scope:
    """What scaling looks at. Leaving workers are no capacity, but their tokens are load.

    `samples` are the newest sane ones by worker, those that are remembered included (`flows.newest`).
    `layout` predicts for the `workload`, which is the mean request until the engines report their own.
    """

    spec: AutoscalingSpec
    staying: tuple[Worker, ...]
    leaving: tuple[Worker, ...] = ()
    samples: Mapping[str, EngineSample] = field(default_factory=dict)
    layout: Layout | None = None
    wake: bool = False
    paused: bool = False
    objectives: Objectives = field(default_factory=Objectives)
    workload: Workload = field(default_factory=Workload)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All of them."""
        return (*self.staying, *self.leaving) if self.leaving else self.staying


def decide(scope: Scope, memory: ScalingMemory, now: float) -> tuple[ScalingDecision, ScalingMemory]:
    """How many replicas there should be, and what to remember. The same samples twice change nothing."""
    current = _current(scope, memory)
    load, memory = _look(scope, memory, current, now)
    ruled = rules.resolve(
        scope.spec,
        current=current,
        cold_start_seconds=load.cold_start_seconds,
        now=now,
    )
    answers = laws.ask(load, ruled)
    calm = min(pace.PANIC_SECONDS, ruled.down_window_seconds)
    until = now + calm if dict(answers)["burst"] else memory.panic_until
    asked = max(ruled.min_replicas, *(count for _, count in answers))
    recommended = _recommend(load, asked, current, wake=scope.wake)
    keep = max(ruled.down_window_seconds, ruled.up_window_seconds)
    recommendations = pace.append(memory.recommendations, now, recommended, keep)
    changes = memory.changes or ((now - pace.RATE_PERIOD_SECONDS, current),)
    panic = until is not None and now < until
    levels = pace.append(memory.levels, now, laws.level(load, ruled), capacity.BUDGET_SECONDS)
    spent_on = levels if capacity.is_overspent(memory, scope.objectives.percentile) else ()
    measure = pace.Pace(ruled, load, current, recommendations, changes, now, panic, spent_on)
    desired, limited_by = _settle(scope, ruled, measure, recommended)
    numbers = say.Numbers(load, ruled, answers, limited_by, current, desired, panic)
    return say.explain(scope.spec.mode, numbers), replace(
        memory,
        recommendations=recommendations,
        levels=levels,
        desired=desired,
        changed_at=now if memory.desired != desired else memory.changed_at,
        changes=pace.append(changes, now, desired, pace.RATE_PERIOD_SECONDS),
        panic_until=until,
    )


def _current(scope: Scope, memory: ScalingMemory) -> int:
    """What was asked for last; for a fresh memory what runs, and one replica to begin with."""
    if memory.desired is not None:
        return memory.desired
    return max(len(scope.staying), scope.spec.min_replicas, 1)


def _look(scope: Scope, memory: ScalingMemory, current: int, now: float) -> tuple[Load, ScalingMemory]:
    """Take in the new samples: what went through, what that teaches, what is foreseen."""
    busy_queue, fresh = scope.spec.target_queue_per_replica, flows.fresh(scope.samples, now)
    passed, news = flows.record(memory.flows, memory.samples, scope.samples, scope.workers, busy_queue)
    memory = _remember(scope, memory, passed, now)
    memory = capacity.learn_request(memory, passed, news)
    memory = spread.learn(memory, scope.staying, fresh, news)
    seen = latency.judge(passed, scope.objectives, memory.served_since)
    predicted = scope.layout.prediction.tokens_per_second if scope.layout else 0.0
    pooling = scope.layout.prediction.pooling if scope.layout else 1.0
    gain = staffing.gain(max(1, memory.served), pooling, memory.unevenness)
    cold_start = starts.cold_start_seconds(memory.cold_starts)
    learn_from = capacity.News(passed, news, scope.objectives, cold_start, gain)
    memory = capacity.learn(memory, predicted, learn_from)
    told = predicted * (scope.spec.capacity_factor or 0.0)
    load = replace(
        evidence.weigh(scope.staying, fresh, passed, scope.layout, now),
        asked=current,
        output_tokens=capacity.mean_request(memory, scope.workload).output_tokens,
        capacity_tokens_per_second=gain * (told or memory.tokens_per_second_per_replica or predicted),
        latency=seen,
        unevenness=memory.unevenness,
        pooling=pooling,
        ttft_objective_seconds=scope.objectives.ttft_seconds,
        cold_start_seconds=cold_start,
        joined_seconds=inf if memory.joined_at is None else now - memory.joined_at,
    )
    return _foresee(load, memory, cold_start + scope.spec.scale_up_window_seconds, now)


def _remember(scope: Scope, memory: ScalingMemory, passed: flows.Flows, now: float) -> ScalingMemory:
    """Keep the newest sample of whoever exists, however old: it tells what a dead worker takes along."""
    names = {worker.name for worker in scope.workers}
    starting, took = starts.watch(memory, scope.workers)
    served = len(evidence.in_service(scope.staying))
    grew = served > memory.served
    return replace(
        memory,
        samples={name: scope.samples[name] for name in sorted(scope.samples) if name in names},
        flows=passed,
        starting=starting,
        cold_starts=took,
        served=served,
        served_since=now if grew else memory.served_since,
        joined_at=now if grew and memory.served else memory.joined_at,
    )


def _foresee(load: Load, memory: ScalingMemory, horizon: float, now: float) -> tuple[Load, ScalingMemory]:
    """Note what is asked for while that is known and no guess, and add what is to come."""
    demand = load.demand_tokens_per_second
    known = memory.foresight
    if load.evidence is not Evidence.MISSING and memory.flows and memory.output_tokens is not None:
        known = foresight.note(known, demand, load.output_tokens, horizon, now)
    load = replace(load, level_tokens_per_second=foresight.level(known, now))
    demand = load.demand_tokens_per_second
    ahead = foresight.foresee(known, demand, horizon, now)
    load = replace(
        load,
        forecast_tokens_per_second=ahead.demand,
        forecast_error_tokens_per_second=ahead.error,
        foreseen_by=ahead.by,
    )
    return load, replace(memory, foresight=known)


def _recommend(load: Load, asked: int, current: int, *, wake: bool) -> int:
    """What goes into the windows: where the load is unknown, that nothing changes."""
    match load.evidence:
        case Evidence.FRESH:
            return asked
        case Evidence.PARTIAL:
            return max(asked, current)
        case Evidence.MISSING:
            return max(current, 1) if wake else current


def _settle(scope: Scope, ruled: Rules, measure: pace.Pace, recommended: int) -> tuple[int, tuple[str, ...]]:
    spec = scope.spec
    if spec.mode is not AutoscalingMode.INTERNAL:
        return (measure.current if spec.replicas is None else spec.replicas), ()
    if scope.paused:
        return measure.current, ("paused",)
    if measure.current == 0 and scope.wake:
        return max(1, ruled.min_replicas), ()
    return pace.limit(measure, recommended)
