"""From a plan to the status that users read."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, Literal

from inferfleet.api import status as written
from inferfleet.api.layout import MeasuredStatus, PlanStatus, RefusalStatus, RejectedStatus, plan_status
from inferfleet.api.memory import account_status, capacity_status, interruption_status
from inferfleet.api.resource import timestamp
from inferfleet.api.scaling import scaling_status
from inferfleet.api.status import ConditionStatus, InferenceDeploymentStatus, State
from inferfleet.values import (
    CapacityType,
    Condition,
    ConditionType,
    Layout,
    Observed,
    OfferKey,
    Plan,
    Pool,
    labels,
)

MODEL_COLUMN_WIDTH: Final = 16
REJECTED_SHOWN: Final = 8
POOLS_SHOWN: Final = 32
CONDITION_STATUS: Final[dict[bool | None, Literal["True", "False", "Unknown"]]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}


def status_from_plan(
    plan: Plan, previous: InferenceDeploymentStatus, generation: int, now: float, *, observed: Observed
) -> InferenceDeploymentStatus:
    """Return the status that says what the plan decided, and keeps what the next pass must remember.

    `previous` gives the conditions' transition times. An unchanged plan gives an unchanged status.
    """
    decision = plan.decision
    return InferenceDeploymentStatus(
        observed_generation=generation,
        state=state_of(plan, observed),
        model=short_model(observed.spec.model.id),
        replicas=sum(not worker.finished for worker in observed.workers),
        ready_replicas=plan.ready,
        desired_replicas=plan.desired,
        spot_ready_replicas=plan.spot_ready,
        selector=f"{labels.DEPLOYMENT}={observed.spec.name},{labels.RANK}=0",
        queue=round(decision.queue) if decision else None,
        tokens_per_second=round(decision.tokens_per_second) if decision else None,
        lost_requests=plan.memory.lost_requests,
        accounts=[
            account_status(account) for account in plan.memory.accounts if any(n for _, n in account.lost)
        ],
        lost_by_cause=[written.LostStatus(cause=cause, requests=count) for cause, count in plan.memory.lost],
        revision=plan.revision,
        plan=_plan(plan, plan.layout) if plan.layout else None,
        rejected=[
            RejectedStatus(
                candidate=candidate.label, reason=candidate.reason.code, message=candidate.reason.message
            )
            for candidate in plan.planning.rejected[:REJECTED_SHOWN]
        ],
        refusal=_refusal(plan),
        scaling=scaling_status(plan.decision, plan.memory.scaling),
        capacity=capacity_status(plan.memory.capacity, _placement(observed)),
        pools=[_pool(pool) for pool in sorted(plan.pools, key=lambda pool: pool.name)[:POOLS_SHOWN]],
        interruptions=[interruption_status(interruption) for interruption in plan.memory.interruptions],
        cost=written.CostStatus(
            dollars_per_hour=significant(plan.dollars_per_hour),
            dollars_per_million_tokens=significant(plan.dollars_per_million_tokens)
            if plan.dollars_per_million_tokens is not None
            else None,
        ),
        conditions=[_condition(condition, previous, generation, now) for condition in plan.conditions],
    )


def state_of(plan: Plan, observed: Observed) -> State:
    """Return the deployment in one word: what the user must act on comes before how it is."""
    holds = {condition.type: condition.status for condition in plan.conditions}
    checks = (
        (State.TERMINATING, observed.spec.deleted_at is not None),
        (State.INVALID, observed.spec_problem is not None),
        (State.PAUSED, observed.spec.paused),
        (State.REFUSED, plan.planning.refusal is not None),
        (State.DISRUPTED, holds.get(ConditionType.DISRUPTED) is True),
        (State.SCALED_TO_ZERO, plan.desired == 0 and plan.ready == 0 and plan.layout is not None),
        (State.READY, holds.get(ConditionType.READY) is True),
        (State.DEGRADED, plan.ready > 0),
        (State.STARTING, plan.layout is not None),
    )
    return next((state for state, applies in checks if applies), State.PENDING)


def short_model(model_id: str) -> str:
    """Return the last part of a model's id, cut to the width of a column."""
    name = model_id.rstrip("/").rsplit("/", 1)[-1]
    return name if len(name) <= MODEL_COLUMN_WIDTH else f"{name[: MODEL_COLUMN_WIDTH - 1]}…"


def significant(figure: float, digits: int = 4) -> float:
    """Return a figure to so many significant digits, so that noise does not change the status."""
    return round(figure, digits - 1 - math.floor(math.log10(abs(figure)))) if figure else 0.0


def _why(plan: Plan) -> str:
    """Return what the Planned condition says of the layout."""
    planned = (c.reason.message for c in plan.conditions if c.type is ConditionType.PLANNED)
    return next(planned, "")


def _plan(plan: Plan, layout: Layout) -> PlanStatus:
    """Return the layout as planned, with what engines report beside it."""
    status = plan_status(layout, _why(plan), plan.memory.planned_from)
    if plan.measured is None or plan.measured == layout:
        return status
    seen = plan.measured.prediction
    measured = MeasuredStatus(
        kv_cache_tokens=plan.measured.kv_cache_tokens,
        concurrency=seen.concurrency,
        tokens_per_second=significant(seen.tokens_per_second),
        dollars_per_million_tokens=significant(seen.dollars_per_million_tokens),
    )
    return status.model_copy(update={"measured": measured})


def _refusal(plan: Plan) -> RefusalStatus | None:
    refusal = plan.planning.refusal
    if refusal is None:
        return None
    return RefusalStatus(reason=refusal.reason.code, message=refusal.reason.message, nearest=refusal.nearest)


def _placement(observed: Observed) -> list[written.CapacityTypeEntry]:
    staying = [worker for worker in observed.workers if not worker.finished]
    placed: Counter[OfferKey] = Counter(worker.offer for worker in staying)
    ready: Counter[OfferKey] = Counter(worker.offer for worker in staying if worker.in_service)
    order = list(CapacityType)
    return [
        written.CapacityTypeEntry(
            capacity_type=offer.capacity_type,
            zone=offer.zone,
            pool=offer.pool,
            replicas=placed[offer],
            ready=ready[offer],
        )
        for offer in sorted(
            placed, key=lambda offer: (order.index(offer.capacity_type), offer.pool, offer.zone)
        )
    ]


def _pool(pool: Pool) -> written.PoolSummary:
    return written.PoolSummary(
        name=pool.name,
        accelerator=pool.accelerator.name,
        nodes=pool.nodes,
        gpus=sum(offer.gpus for offer in pool.offers),
        free=sum(offer.free_gpus for offer in pool.offers),
        dollars_per_gpu_hour=significant(pool.cheapest_dollars_per_gpu_hour),
    )


def _condition(
    condition: Condition, previous: InferenceDeploymentStatus, generation: int, now: float
) -> ConditionStatus:
    status = CONDITION_STATUS[condition.status]
    before = next((old for old in previous.conditions if old.type == condition.type), None)
    unchanged = before is not None and before.status == status
    return ConditionStatus(
        type=condition.type,
        status=status,
        reason=condition.reason.code,
        message=condition.reason.message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and unchanged else transition_time(now),
    )


def transition_time(now: float) -> str:
    """Return an instant to the second, as conditions carry it."""
    return timestamp(math.floor(now)).replace(".000Z", "Z")
