"""A replica that spans nodes lives, drains and serves as one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import LAYOUT, NOW, pod, scene

from inferfleet.disruption import drain, find_departures, put_into_service
from inferfleet.values import (
    CapacityType,
    MarkDraining,
    OfferKey,
    PodPhase,
    RestartWorker,
    SetServing,
    Worker,
    WorkerPod,
)


def group(*pods: WorkerPod) -> Worker:
    return Worker("g", "new", OfferKey("pool", CapacityType.ON_DEMAND), pods)


WIDE = replace(LAYOUT, nodes_per_replica=2)


@pytest.mark.parametrize(
    ("pods", "restarted"),
    [
        ((pod("g", 0), pod("g", 1)), False),
        ((pod("g", 0), pod("g", 1, restarts=1)), True),
        ((pod("g", 0, restarts=1), pod("g", 1, restarts=1)), False),
        ((pod("g", 0), pod("g", 1, phase=PodPhase.FAILED)), True),
        ((pod("g", 1), pod("g", 1, phase=PodPhase.FAILED)), True),
    ],
    ids=["whole", "one restarted alone", "all restarted together", "one failed", "the leader is missing"],
)
def test_a_replica_that_spans_nodes_restarts_as_a_whole(pods: tuple[WorkerPod, ...], restarted: bool) -> None:
    at = scene(layout=WIDE)
    actions = drain(find_departures([group(*pods)], at), [], 1, at)
    assert any(isinstance(action, RestartWorker) for action in actions) == restarted


def test_a_group_that_a_crash_left_incomplete_is_cleaned_up_after_a_while() -> None:
    at = scene(layout=WIDE)
    assert find_departures([group(pod("g", 0, created_at=NOW - 30))], at) == ()
    (found,) = find_departures([group(pod("g", 0, created_at=NOW - 90))], at)
    assert found.over is not None
    assert "1 of 2 pods" in found.over.message


def test_the_rest_of_a_group_drains_when_one_of_its_pods_is_deleted() -> None:
    at = scene(layout=WIDE)
    half = group(pod("g", 0), pod("g", 1, deleted_at=NOW + 60))
    actions = drain(find_departures([half], at), [], 1, at)
    assert [action.pod for action in actions if isinstance(action, MarkDraining)] == ["g-0"]
    assert [action.pod for action in actions if isinstance(action, SetServing)] == ["g-0"], "at once"


def test_a_leader_waits_for_its_group() -> None:
    loading = pod("g", 1, serving=None, containers_ready=False, ready=False)
    assert put_into_service([group(pod("g", 0, serving=None, ready=False), loading)]) == ()
