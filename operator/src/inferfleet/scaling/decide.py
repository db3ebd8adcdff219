"""Compose evidence, laws and pace into one decision."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferfleet.scaling import evidence, laws, pace
from inferfleet.scaling.evidence import Evidence, Load
from inferfleet.values import (
    AutoscalingMode,
    AutoscalingSpec,
    EngineSample,
    Layout,
    Reason,
    ScalingDecision,
    ScalingMemory,
    Worker,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What scaling looks at. Leaving workers are no capacity, but their tokens are load."""

    spec: AutoscalingSpec
    staying: tuple[Worker, ...]
    leaving: tuple[Worker, ...] = ()
    samples: tuple[EngineSample, ...] = ()
    layout: Layout | None = None
    wake: bool = False
    paused: bool = False


def decide(scope: Scope, memory: ScalingMemory, now: float) -> tuple[ScalingDecision, ScalingMemory]:
    """How many replicas there should be, and what to remember. The same samples twice change nothing."""
    samples = evidence.remember(memory.samples, scope.samples, (*scope.staying, *scope.leaving), now)
    learned = evidence.learn(scope.staying, samples, scope.layout, memory.tokens_per_second_per_replica)
    load = evidence.weigh(scope.staying, samples, scope.layout, learned, now)
    current = _current(scope, memory)
    answers = laws.ask(load, scope.spec)
    asked = max(scope.spec.min_replicas, *(count for _, count in answers))
    recommended = _recommend(load, asked, current, wake=scope.wake)
    keep = max(scope.spec.scale_down_window_seconds, scope.spec.scale_up_window_seconds)
    recommendations = pace.append(memory.recommendations, now, recommended, keep)
    measure = pace.Pace(scope.spec, load, current, recommendations, memory.changes, now)
    desired, limited_by = _settle(scope, measure, recommended)
    decision = ScalingDecision(
        desired=desired,
        reason=_reason(scope, load, answers, limited_by, current=current, desired=desired),
        laws=answers,
        limited_by=", ".join(limited_by),
        queue=load.waiting,
        running=load.running,
        tokens_per_second=load.tokens_per_second,
        capacity_tokens_per_second=load.capacity_tokens_per_second,
        evidence=load.evidence.value,
    )
    changed = memory.desired != desired
    return decision, replace(
        memory,
        samples=samples,
        recommendations=recommendations,
        desired=desired,
        changed_at=now if changed else memory.changed_at,
        tokens_per_second_per_replica=learned,
        changes=pace.append(_changes(memory, current, now), now, desired, pace.RATE_PERIOD_SECONDS),
    )


def _current(scope: Scope, memory: ScalingMemory) -> int:
    """What was asked for last; for a fresh memory what runs, and one replica to begin with."""
    if memory.desired is not None:
        return memory.desired
    return max(len(scope.staying), scope.spec.min_replicas, 1)


def _changes(memory: ScalingMemory, current: int, now: float) -> pace.Steps:
    return memory.changes or ((now - pace.RATE_PERIOD_SECONDS, current),)


def _recommend(load: Load, asked: int, current: int, *, wake: bool) -> int:
    """What goes into the windows: where the load is unknown, that nothing changes."""
    match load.evidence:
        case Evidence.FRESH:
            return asked
        case Evidence.PARTIAL:
            return max(asked, current)
        case Evidence.MISSING:
            return max(current, 1) if wake else current


def _settle(scope: Scope, measure: pace.Pace, recommended: int) -> tuple[int, tuple[str, ...]]:
    spec = scope.spec
    if spec.mode is not AutoscalingMode.INTERNAL:
        return (measure.current if spec.replicas is None else spec.replicas), ()
    if scope.paused:
        return measure.current, ("paused",)
    if measure.current == 0 and scope.wake:
        return max(1, spec.min_replicas), ()
    return pace.limit(measure, recommended)


def _reason(
    scope: Scope,
    load: Load,
    answers: tuple[tuple[str, int], ...],
    limited_by: tuple[str, ...],
    *,
    current: int,
    desired: int,
) -> Reason:
    spec = scope.spec
    if spec.mode is not AutoscalingMode.INTERNAL:
        return Reason(f"{spec.mode.value}Scaling", f"spec.replicas asks for {desired}")
    if load.evidence is Evidence.MISSING and desired == current:
        return Reason("NoEvidence", f"{load.gap}: holding {desired}")
    numbers = (
        f"{load.waiting:g} waiting ({spec.target_queue_per_replica:g} per replica tolerated), "
        f"{load.running:g} running, {load.demand_tokens_per_second:.0f} tokens/s asked for of "
        f"{load.capacity_tokens_per_second:.0f} per replica; "
        + ", ".join(f"{name} law {count}" for name, count in answers)
    )
    if limited_by:
        numbers += f"; limited by {', '.join(limited_by)}"
    if load.gap:
        numbers += f"; {load.gap}"
    if desired > current:
        return Reason("ScalingUp", f"{current} to {desired} replicas: {numbers}")
    if desired < current:
        return Reason("ScalingDown", f"{current} to {desired} replicas: {numbers}")
    return Reason("Steady", f"{desired} replicas: {numbers}")
