"""Who must leave, why, and by when."""

from __future__ import annotations

from typing import Any

import pytest
from scenes import NOW, going, heard, scene, worker

from inferfleet.disruption import find_departures
from inferfleet.values import Drain, DrainCause, InterruptionKind, PodPhase, Reason


@pytest.mark.parametrize(
    ("kind", "deadline", "source", "cause", "bound"),
    [
        (InterruptionKind.INTERRUPTION, NOW + 120, "taint", DrainCause.INTERRUPTION, NOW + 115),
        (InterruptionKind.INTERRUPTION, NOW + 15, "taint", DrainCause.INTERRUPTION, NOW + 11.25),
        (InterruptionKind.INTERRUPTION, None, "worker", DrainCause.INTERRUPTION, NOW + 25),
        (InterruptionKind.MAINTENANCE, NOW + 3600, "taint", DrainCause.NODE_DRAIN, NOW + 3595),
        (InterruptionKind.REBALANCE, None, "taint", DrainCause.REBALANCE, None),
        (InterruptionKind.VOLUNTARY, None, "cordon", DrainCause.NODE_DRAIN, None),
        (InterruptionKind.VOLUNTARY, None, "taint karpenter.sh/disrupted", DrainCause.CONSOLIDATION, None),
        (InterruptionKind.LOST, NOW, "node gone", DrainCause.INTERRUPTION, NOW),
    ],
)
def test_a_going_node_makes_its_workers_leave_with_a_margin(
    kind: InterruptionKind, deadline: float | None, source: str, cause: DrainCause, bound: float | None
) -> None:
    (found,) = find_departures([worker()], scene(interruptions=going(kind, deadline, source=source)))
    assert (found.drain.cause, found.drain.deadline) == (cause, bound)
    assert (found.over is not None) == (kind is InterruptionKind.LOST)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"disruption": Reason("EvictionByEvictionAPI", "evicted")}, DrainCause.NODE_DRAIN),
        ({"disruption": Reason("DeletionByTaintManager", "tainted")}, DrainCause.NODE_DRAIN),
        ({"disruption": Reason("PreemptionByScheduler", "preempted")}, DrainCause.NODE_DRAIN),
        ({"disruption": Reason("TerminationByKubelet", "node shutdown")}, DrainCause.INTERRUPTION),
        ({"deleted_at": NOW + 30}, DrainCause.NODE_DRAIN),
        ({"drain": Drain(DrainCause.SCALE_DOWN, 900.0, None)}, DrainCause.SCALE_DOWN),
        ({"phase": PodPhase.FAILED}, DrainCause.NODE_DRAIN),
    ],
)
def test_a_pod_that_is_told_to_end_makes_its_worker_leave(changes: dict[str, Any], cause: DrainCause) -> None:
    (found,) = find_departures([worker(**changes)], scene())
    assert found.drain.cause is cause


def test_a_healthy_worker_stays() -> None:
    assert find_departures([worker()], scene(samples=heard())) == ()


def test_a_worker_that_refuses_of_its_own_accord_is_believed() -> None:
    (found,) = find_departures([worker()], scene(samples=heard(phase="closing")))
    assert found.reason.code == "GateClosed"


def test_a_stronger_cause_takes_over_and_the_start_stays() -> None:
    leaving = worker(drain=Drain(DrainCause.SCALE_DOWN, 900.0, 1200.0))
    doomed = going(InterruptionKind.INTERRUPTION, NOW + 60)
    (found,) = find_departures([leaving], scene(interruptions=doomed))
    assert found.drain == Drain(DrainCause.INTERRUPTION, 900.0, NOW + 55)


def test_a_later_deadline_loosens_nothing() -> None:
    leaving = worker(drain=Drain(DrainCause.INTERRUPTION, 990.0, 1010.0))
    doomed = going(InterruptionKind.INTERRUPTION, NOW + 120)
    (found,) = find_departures([leaving], scene(interruptions=doomed))
    assert found.drain.deadline == 1010.0
