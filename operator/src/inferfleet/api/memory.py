"""What must survive a restart of the operator lives in the status: how it is written, and read back.

Samples and windows are not kept: after a restart new ones fill, and until then the number of replicas holds.
"""

from __future__ import annotations

from typing import Final

from inferfleet.api import status as written
from inferfleet.api.layout import layout_from_status
from inferfleet.api.resource import instant, maybe_instant, maybe_timestamp, timestamp
from inferfleet.api.scaling import scaling_memory
from inferfleet.values import (
    Account,
    CapacityMemory,
    Condition,
    ConditionType,
    Interruption,
    LossCause,
    Memory,
    OfferKey,
    Reason,
)

LOSSES_KEPT: Final = 64
FAILURES_KEPT: Final = 32


def memory_from_status(status: written.InferenceDeploymentStatus) -> Memory:
    """Read back what `status_from_plan` wrote."""
    return Memory(
        scaling=scaling_memory(status.scaling),
        capacity=_capacity(status.capacity),
        layout=layout_from_status(status.plan) if status.plan else None,
        revision=status.revision,
        planned_from=status.plan.planned_from if status.plan else None,
        conditions=tuple(
            _condition(condition) for condition in status.conditions if condition.type in set(ConditionType)
        ),
        interruptions=tuple(_interruption(interruption) for interruption in status.interruptions),
        lost=_lost(status),
        accounts=tuple(_account(account) for account in status.accounts),
    )


def capacity_status(
    memory: CapacityMemory, placement: list[written.CapacityTypeEntry]
) -> written.CapacityStatus:
    """Write where replicas are, and the memory."""
    return written.CapacityStatus(
        placement=placement,
        targets=[
            written.TargetStatus(capacity_type=capacity_type, replicas=replicas)
            for capacity_type, replicas in memory.targets
        ],
        losses=[
            written.LossStatus(
                pool=offer.pool, capacity_type=offer.capacity_type, zone=offer.zone, at=timestamp(at)
            )
            for offer, at in memory.losses[-LOSSES_KEPT:]
        ],
        failures=[timestamp(at) for at in memory.failures[-FAILURES_KEPT:]],
        spot_short_since=maybe_timestamp(memory.spot_short_since),
    )


def interruption_status(interruption: Interruption) -> written.InterruptionStatus:
    """Write a signal about a node."""
    return written.InterruptionStatus(
        node=interruption.node,
        kind=interruption.kind,
        source=interruption.source,
        seen_at=timestamp(interruption.seen_at),
        deadline=maybe_timestamp(interruption.deadline),
    )


def account_status(account: Account) -> written.AccountStatus:
    """Write what a worker has lost; what it has in flight moves too fast."""
    lost = {cause: round(count) for cause, count in account.lost}
    return written.AccountStatus(worker=account.worker, instance=account.instance, lost=lost)


def _account(account: written.AccountStatus) -> Account:
    lost = tuple((cause, float(count)) for cause, count in sorted(account.lost.items()))
    return Account(account.worker, account.instance, at=0.0, in_flight=0, lost=lost)


def _lost(status: written.InferenceDeploymentStatus) -> tuple[tuple[LossCause, int], ...]:
    """The count by cause; a status of an earlier release has the sum only."""
    known = tuple((entry.cause, entry.requests) for entry in status.lost_by_cause)
    rest = status.lost_requests - sum(count for _, count in known)
    return known or (((LossCause.CRASH, rest),) if rest > 0 else ())


def _capacity(capacity: written.CapacityStatus) -> CapacityMemory:
    return CapacityMemory(
        losses=tuple(
            (OfferKey(loss.pool, loss.capacity_type, loss.zone), instant(loss.at)) for loss in capacity.losses
        ),
        failures=tuple(instant(at) for at in capacity.failures),
        spot_short_since=maybe_instant(capacity.spot_short_since),
        targets=tuple((target.capacity_type, target.replicas) for target in capacity.targets),
    )


def _condition(condition: written.ConditionStatus) -> Condition:
    return Condition(
        type=ConditionType(condition.type),
        status={"True": True, "False": False}.get(condition.status),
        reason=Reason(condition.reason, condition.message),
    )


def _interruption(interruption: written.InterruptionStatus) -> Interruption:
    return Interruption(
        kind=interruption.kind,
        node=interruption.node,
        seen_at=instant(interruption.seen_at),
        deadline=maybe_instant(interruption.deadline),
        source=interruption.source,
    )
