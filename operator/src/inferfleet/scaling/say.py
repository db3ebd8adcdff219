"""A decision in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from inferfleet.scaling.evidence import Evidence, Load
from inferfleet.scaling.rules import Rules
from inferfleet.values import AutoscalingMode, Reason, ScalingDecision


@dataclass(frozen=True, slots=True)
class Numbers:
    """What led to a decision."""

    load: Load
    rules: Rules
    answers: tuple[tuple[str, int], ...]
    limited_by: tuple[str, ...]
    current: int
    desired: int
    panic: bool


def explain(mode: AutoscalingMode, numbers: Numbers) -> ScalingDecision:
    """The decision with all that it was made from."""
    load = numbers.load
    return ScalingDecision(
        desired=numbers.desired,
        reason=_reason(mode, numbers),
        laws=numbers.answers,
        limited_by=", ".join(numbers.limited_by),
        queue=load.waiting,
        running=load.running,
        tokens_per_second=load.tokens_per_second,
        capacity_tokens_per_second=load.capacity_tokens_per_second,
        evidence=load.evidence.value,
        demand_tokens_per_second=load.demand_tokens_per_second,
        arrivals_per_second=load.arrivals_per_second,
        output_tokens=load.output_tokens,
        ttft_seconds=load.latency.ttft_seconds,
        itl_seconds=load.latency.itl_seconds,
        forecast_tokens_per_second=load.forecast_tokens_per_second,
        forecast_error_tokens_per_second=load.forecast_error_tokens_per_second,
        foreseen_by=load.foreseen_by,
        utilization=numbers.rules.utilization,
        cold_start_seconds=load.cold_start_seconds,
        schedule=numbers.rules.schedule,
        panic=numbers.panic,
    )


def _reason(mode: AutoscalingMode, numbers: Numbers) -> Reason:
    load, current, desired = numbers.load, numbers.current, numbers.desired
    if mode is not AutoscalingMode.INTERNAL:
        return Reason(f"{mode.value}Scaling", f"spec.replicas asks for {desired}")
    if load.evidence is Evidence.MISSING and desired == current:
        return Reason("NoEvidence", f"{load.gap}: holding {desired}")
    said = "; ".join(_parts(numbers))
    if desired > current:
        return Reason("ScalingUp", f"{current} to {desired} replicas: {said}")
    if desired < current:
        return Reason("ScalingDown", f"{current} to {desired} replicas: {said}")
    return Reason("Steady", f"{desired} replicas: {said}")


def _parts(numbers: Numbers) -> list[str]:
    load, rules = numbers.load, numbers.rules
    asked = ", ".join(f"{name} law {count}" for name, count in numbers.answers if count)
    tolerated = f"{rules.tolerated_queue:g} per replica tolerated"
    told = f" (told: {rules.capacity_factor:g} times the plan's)" if rules.capacity_factor else ""
    able = f"{load.capacity_tokens_per_second:.0f} per replica{told} at {rules.utilization:.0%}"
    parts = [
        f"{load.waiting:g} waiting ({tolerated}), {load.running:g} running",
        f"{load.demand_tokens_per_second:.0f} tokens/s asked for of {able}",
        asked or "no law asks for any",
    ]
    if load.forecast_tokens_per_second:
        error = f"{load.forecast_error_tokens_per_second:.0f} tokens/s"
        by = load.foreseen_by or "persistence"
        parts.append(f"{load.forecast_tokens_per_second:.0f} +- {error} foreseen by {by}")
    if rules.schedule:
        parts.append(f"schedule {rules.schedule}")
    if numbers.limited_by:
        parts.append(f"limited by {', '.join(numbers.limited_by)}")
    if load.gap:
        parts.append(load.gap)
    return parts
