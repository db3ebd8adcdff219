"""The machine by which all leave, a step at a time, and into service."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import NOW, SPEC, WHY, going, heard, scene, worker

from inferfleet.disruption import Departure, ask_to_leave, drain, find_departures, put_into_service
from inferfleet.disruption.drain import latest_start
from inferfleet.values import (
    Action,
    AnnounceDrain,
    DeletePod,
    Drain,
    DrainCause,
    EngineSample,
    InterruptionKind,
    MarkDraining,
    PodPhase,
    Reason,
    SetServing,
    Worker,
    Workload,
)


def names(actions: tuple[Action, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_a_scale_down_walks_through_every_step_once() -> None:
    others = [worker("other")]
    leaving = worker()
    departure = ask_to_leave(leaving, DrainCause.SCALE_DOWN, WHY, NOW)
    marked, out = drain([departure], others, 1, scene(samples=heard(in_flight=2)))
    assert isinstance(marked, MarkDraining)
    assert marked.drain == Drain(DrainCause.SCALE_DOWN, NOW, NOW + 300)
    assert out == SetServing("w-0", "uid-w-0", serving=False, reason=WHY)

    leaving = worker(serving=False, ready=False, drain=marked.drain)
    (told,) = step(leaving, others, heard(in_flight=2))
    assert isinstance(told, AnnounceDrain)
    assert told.settle_seconds == 7.0
    assert step(leaving, others, heard(phase="closing", in_flight=2)) == ()
    assert step(leaving, others, heard(phase="closing", in_flight=0)) == (), "it still accepts"
    assert step(leaving, others, heard(phase="refusing", in_flight=1)) == ()
    (gone,) = step(leaving, others, heard(phase="refusing"))
    assert isinstance(gone, DeletePod)
    assert (gone.uid, gone.reason.code) == ("uid-w-0", "Drained")


def step(
    leaving: Worker, others: list[Worker], samples: dict[str, EngineSample], now: float = NOW
) -> tuple[Action, ...]:
    at = scene(now, samples=samples)
    return drain(find_departures([leaving], at), others, 1, at)


def test_at_the_deadline_it_is_deleted_with_a_short_grace_whatever_runs() -> None:
    leaving = worker(serving=False, ready=False, drain=Drain(DrainCause.SCALE_DOWN, 700.0, NOW))
    (gone,) = step(leaving, [worker("other")], heard(phase="refusing", in_flight=3))
    assert isinstance(gone, DeletePod)
    assert (gone.reason.code, gone.grace_seconds) == ("DeadlineReached", 5)
    assert "3 requests in flight" in gone.reason.message


def test_one_that_the_kubelet_is_ending_is_not_cut_off_before_the_kubelet_must() -> None:
    leaving = worker(
        serving=False,
        ready=False,
        drain=Drain(DrainCause.INTERRUPTION, 700.0, NOW),
        disruption=Reason("TerminationByKubelet", "node shutdown"),
    )
    assert step(leaving, [worker("other")], heard(phase="refusing", in_flight=3)) == ()


def test_one_that_is_not_heard_is_left_until_the_deadline() -> None:
    leaving = worker(serving=False, ready=False, drain=Drain(DrainCause.SCALE_DOWN, 900.0, NOW + 100))
    assert names(step(leaving, [worker("other")], {})) == ["AnnounceDrain"]


@pytest.mark.parametrize(
    "changes",
    [
        {"serving": None, "ready": False},
        {"serving": None, "ready": False, "containers_ready": False, "phase": PodPhase.PENDING, "node": None},
        {"serving": True, "ready": False, "containers_ready": False},
    ],
    ids=["never in service", "pending", "its engine is down"],
)
def test_one_that_serves_nothing_is_deleted_without_ceremony(changes: dict[str, Any]) -> None:
    leaving = worker(**changes)
    actions = drain([ask_to_leave(leaving, DrainCause.SCALE_DOWN, WHY, NOW)], [worker("other")], 1, scene())
    assert names(actions) == ["DeletePod"]


def test_one_whose_gate_is_closing_is_not_ready_and_still_takes_what_is_on_its_way() -> None:
    leaving = worker(
        serving=False,
        ready=False,
        containers_ready=False,
        drain=Drain(DrainCause.SCALE_DOWN, 900.0, NOW + 100),
    )
    assert step(leaving, [worker("other")], heard(phase="closing")) == ()
    assert names(step(leaving, [worker("other")], heard(phase="refusing"))) == ["DeletePod"]


def test_a_dead_node_costs_its_pods_at_once() -> None:
    stuck = worker(deleted_at=NOW - 100)
    for leaving in (worker(), stuck):
        lost = scene(interruptions=going(InterruptionKind.LOST, NOW))
        (gone,) = drain(find_departures([leaving], lost), [], 1, lost)
        assert isinstance(gone, DeletePod)
        assert gone.grace_seconds == 0


def test_a_pod_that_is_being_deleted_is_left_to_the_kubelet() -> None:
    at = scene()
    leaving = worker(deleted_at=NOW + 30, ready=False)
    assert drain(find_departures([leaving], at), [worker("other")], 1, at) == ()


@pytest.mark.parametrize(
    ("cause", "others", "desired", "leaves"),
    [
        (DrainCause.INTERRUPTION, 1, 2, True),
        (DrainCause.INTERRUPTION, 0, 1, False),
        (DrainCause.SCALE_DOWN, 1, 1, True),
        (DrainCause.SCALE_DOWN, 0, 1, False),
        (DrainCause.SCALE_DOWN, 0, 0, True),
        (DrainCause.ROLLOUT, 0, 1, False),
        (DrainCause.NODE_DRAIN, 1, 2, False),
        (DrainCause.NODE_DRAIN, 2, 2, True),
        (DrainCause.CONSOLIDATION, 1, 2, False),
        (DrainCause.REBALANCE, 2, 2, True),
        (DrainCause.DELETION, 0, 1, True),
    ],
)
def test_it_leaves_the_endpoints_when_the_rest_can_take_over(
    cause: DrainCause, others: int, desired: int, leaves: bool
) -> None:
    staying = [worker(f"other{n}") for n in range(others)]
    actions = drain([ask_to_leave(worker(), cause, WHY, NOW)], staying, desired, scene())
    assert names(actions)[0] == "MarkDraining"
    assert ("SetServing" in names(actions)) == leaves


def test_of_two_on_a_cordoned_node_only_as_many_leave_as_were_replaced() -> None:
    both = [ask_to_leave(worker(name), DrainCause.NODE_DRAIN, WHY, NOW) for name in ("a", "b")]
    actions = drain(both, [worker("new")], 2, scene())
    assert [action.pod for action in actions if isinstance(action, SetServing)] == ["a-0"]


@pytest.mark.parametrize(
    ("others", "told", "out"),
    [
        (0, (), ""),
        (1, (), "ab"),
        (2, (), "abc"),
        (3, (), "abcd"),
        (1, ("d",), "ad"),
        (1, ("c", "d"), "cd"),
    ],
)
def test_when_most_are_interrupted_at_once_so_many_serve_on_that_half_of_what_is_wanted_does(
    others: int, told: tuple[str, ...], out: str
) -> None:
    doomed = [
        Departure(worker(name), Drain(DrainCause.INTERRUPTION, NOW, NOW + 120 + n), WHY)
        for n, name in enumerate("abcd")
    ]
    samples = {name: replace(heard(name)[name], notices=(("interruption", None, "aws"),)) for name in told}
    at = scene(samples=samples)
    actions = drain(doomed, [worker(f"other{n}") for n in range(others)], 6, at)
    assert "".join(action.pod[0] for action in actions if isinstance(action, SetServing)) == out

    late = drain(doomed, [worker("other")], 6, replace(at, now=NOW + 115))
    assert sum(isinstance(action, SetServing) for action in late) == len(doomed)


@pytest.mark.parametrize(
    ("notice", "output_tokens", "start"),
    [(120, 2000, 60.0), (30, 2000, 15.0), (1000, 200, 960.0)],
    ids=["half of the notice", "half of a short notice", "what the longest request needs"],
)
def test_the_sole_replica_starts_to_drain_in_time(notice: float, output_tokens: int, start: float) -> None:
    at = scene(spec=replace(SPEC, workload=Workload(1000, output_tokens)))
    drained = Drain(DrainCause.INTERRUPTION, NOW, NOW + notice)
    assert latest_start(drained, at) == pytest.approx(NOW + start)
    doomed = Departure(worker(), drained, WHY)
    before, after = replace(at, now=NOW + start - 1), replace(at, now=NOW + start + 1)
    assert names(drain([doomed], [], 1, before)) == ["MarkDraining"]
    assert names(drain([doomed], [], 1, after)) == ["MarkDraining", "SetServing"]


def test_a_short_notice_leaves_little_time_to_settle() -> None:
    leaving = worker(serving=False, ready=False, drain=Drain(DrainCause.INTERRUPTION, NOW, NOW + 12))
    (told,) = step(leaving, [worker("other")], heard(in_flight=1))
    assert isinstance(told, AnnounceDrain)
    assert told.settle_seconds == 3.0


def test_marks_come_before_gates_and_gates_before_deletes() -> None:
    idle = worker("idle", serving=None, ready=False)
    departures = [ask_to_leave(w, DrainCause.SCALE_DOWN, WHY, NOW) for w in (idle, worker("busy"))]
    assert names(drain(departures, [worker("other")], 1, scene())) == [
        "MarkDraining",
        "SetServing",
        "DeletePod",
    ]


def test_who_can_serve_and_stays_is_put_into_service_once() -> None:
    (opened,) = put_into_service([worker(serving=None, ready=False)])
    assert opened == SetServing("w-0", "uid-w-0", serving=True, reason=opened.reason)
    assert len(put_into_service([worker(serving=False, ready=False)])) == 1
    assert put_into_service([worker()]) == ()
    assert put_into_service([worker(serving=None, ready=False, containers_ready=False)]) == ()


DRAINS = st.builds(Drain, st.sampled_from(DrainCause), st.just(900.0), st.none() | st.floats(900, 1300))


FATES = st.none() | st.tuples(st.sampled_from(InterruptionKind), st.none() | st.floats(NOW, NOW + 200))


@given(
    DRAINS, FATES, st.integers(0, 3), st.sampled_from(["serving", "closing", "refusing"]), st.integers(0, 2)
)
def test_drains_never_loosen(
    written: Drain,
    fate: tuple[InterruptionKind, float | None] | None,
    others: int,
    phase: str,
    in_flight: int,
) -> None:
    at = scene(samples=heard(phase=phase, in_flight=in_flight))
    if fate:
        at = replace(at, interruptions=going(*fate))
    staying = [worker(f"other{n}") for n in range(others)]
    for action in drain(find_departures([worker(drain=written)], at), staying, 1, at):
        if isinstance(action, MarkDraining):
            assert CAUSES.index(action.drain.cause) >= CAUSES.index(written.cause)
            if written.deadline is not None:
                assert action.drain.deadline is not None
                assert action.drain.deadline <= written.deadline


CAUSES = list(DrainCause)


@given(
    st.lists(
        st.sampled_from(
            [DrainCause.SCALE_DOWN, DrainCause.ROLLOUT, DrainCause.NODE_DRAIN, DrainCause.REBALANCE]
        ),
        max_size=4,
    ),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_nobody_who_goes_by_choice_leaves_the_endpoints_empty(
    causes: list[DrainCause], others: int, desired: int
) -> None:
    departures = [ask_to_leave(worker(f"w{n}"), cause, WHY, NOW) for n, cause in enumerate(causes)]
    staying = [worker(f"other{n}") for n in range(others)]
    actions = drain(departures, staying, desired, scene())
    out = [action for action in actions if isinstance(action, SetServing)]
    if causes:
        assert others + len(causes) - len(out) >= 1
    assert not any(isinstance(action, DeletePod) for action in actions)
