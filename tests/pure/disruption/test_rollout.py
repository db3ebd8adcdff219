"""How many of a new revision may come, and how many of the old go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import NOW, worker

from inferfleet.disruption.rollout import Rollout, backoff_seconds, record_failures
from inferfleet.values import IntOrPercent, PodPhase, Reason, RolloutSpec


def rollout(new: int, old: int, *, new_ready: int, surge: int = 1, unavailable: int = 0) -> Rollout:
    return Rollout(
        RolloutSpec(IntOrPercent(count=surge), IntOrPercent(count=unavailable), 600.0),
        3,
        tuple(worker(f"n{n}", ready=n < new_ready, created_at=NOW - 10) for n in range(new)),
        tuple(worker(f"o{n}", revision="old") for n in range(old)),
        (),
        NOW,
    )


@pytest.mark.parametrize(
    ("made", "room", "retired"),
    [
        (rollout(0, 3, new_ready=0), 1, 0),
        (rollout(1, 3, new_ready=0), 0, 0),
        (rollout(1, 3, new_ready=1), 0, 1),
        (rollout(1, 2, new_ready=1), 1, 0),
        (rollout(3, 1, new_ready=3), 0, 1),
        (rollout(0, 3, new_ready=0, surge=0, unavailable=1), 0, 1),
        (rollout(0, 2, new_ready=0, surge=0, unavailable=1), 1, 0),
        (rollout(0, 3, new_ready=0, surge=2, unavailable=1), 2, 1),
    ],
)
def test_a_rollout_keeps_its_bounds(made: Rollout, room: int, retired: int) -> None:
    assert (made.room, len(made.retire(3))) == (room, retired)


@pytest.mark.parametrize(
    ("made", "room", "retired"),
    [
        (rollout(0, 3, new_ready=0), 3, 0),
        (rollout(3, 3, new_ready=2), 3, 0),
        (rollout(3, 3, new_ready=3), 3, 3),
        (rollout(0, 3, new_ready=0, surge=0, unavailable=1), 0, 1),
    ],
    ids=["a whole second set comes", "none goes before it is complete", "then all go", "no room for one"],
)
def test_another_layout_is_staged(made: Rollout, room: int, retired: int) -> None:
    staged = replace(made, staged=True)
    assert (staged.room, len(staged.retire(3))) == (room, retired)


def test_a_staged_rollout_that_does_not_come_up_halts_as_any_other() -> None:
    stuck = replace(rollout(1, 3, new_ready=0), staged=True, now=NOW + 700)
    assert (stuck.halted, stuck.room, stuck.retire(3)) == (True, 0, ())


def test_a_staged_rollout_without_room_says_how_to_do_without() -> None:
    made = rollout(1, 3, new_ready=0)
    pending = replace(made.new[0].leader, unschedulable=Reason("Unschedulable", "0/2 nodes are available"))
    stuck = replace(made, staged=True, now=NOW + 700, new=(replace(made.new[0], pods=(pending,)),))
    assert stuck.late is not None
    assert "0/2 nodes are available; another layout needs room" in stuck.late.message


def test_a_new_replica_that_cannot_start_halts_the_rollout_at_once_and_one_that_mends_lets_it_go_on() -> None:
    made = rollout(2, 2, new_ready=1)
    broken = replace(made.new[1].leader, failure=Reason("ImagePullBackOff", "no such image"))
    stuck = replace(made, new=(made.new[0], replace(made.new[1], pods=(broken,))))
    assert (stuck.halted, stuck.retire(3)) == (True, ())
    assert stuck.late is not None
    assert "no such image" in stuck.late.message
    assert not made.halted


def test_a_rollout_whose_new_replicas_do_not_come_up_halts() -> None:
    waiting = rollout(1, 3, new_ready=0)
    stuck = replace(waiting, now=NOW + 700)
    assert (waiting.halted, stuck.halted) == (False, True)
    assert (stuck.room, stuck.retire(3)) == (0, ())
    two_gone = replace(stuck, old=stuck.old[:1])
    assert two_gone.room == 1, "what is lost meanwhile is replaced"


def test_failures_of_replicas_back_off_and_are_forgotten() -> None:
    failed = [worker(phase=PodPhase.FAILED)]
    known = record_failures((), failed, NOW)
    assert record_failures(known, failed, NOW + 1) == known, "still visible, not another one"
    assert backoff_seconds(known, NOW) == 0.0
    assert backoff_seconds((NOW - 20, NOW), NOW) == 10.0
    assert backoff_seconds((NOW - 50, NOW - 20, NOW), NOW + 5) == 15.0
    assert backoff_seconds(tuple(NOW + n for n in range(20)), NOW + 19) == 300.0
    assert record_failures(known, [], NOW + 1801) == ()
