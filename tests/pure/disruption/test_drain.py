"""Who leaves, and the machine by which they do, a step at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet.disruption import (
    Departure,
    Scene,
    Victims,
    ask_to_leave,
    choose_victims,
    drain,
    find_departures,
    put_into_service,
)
from inferfleet.disruption.drain import latest_start
from inferfleet.disruption.rollout import Rollout, backoff_seconds, record_failures
from inferfleet.values import (
    Action,
    AnnounceDrain,
    CapacityType,
    DeletePod,
    DeploymentSpec,
    Drain,
    DrainCause,
    EngineSample,
    EngineSpec,
    Interruption,
    InterruptionKind,
    IntOrPercent,
    Layout,
    MarkDraining,
    ModelSpec,
    Objectives,
    OfferKey,
    PodPhase,
    Prediction,
    Reason,
    RestartWorker,
    RolloutSpec,
    SetServing,
    Worker,
    WorkerPod,
    Workload,
)

NOW = 1000.0
CAUSE = DrainCause
SPEC = DeploymentSpec(
    "chat",
    "default",
    "uid",
    1,
    ModelSpec("m"),
    EngineSpec("image"),
    objectives=Objectives(ttft_seconds=1.0, itl_seconds=0.05),
    workload=Workload(1000, 200),
)
LAYOUT = Layout("pool", "L4", 1, 1, 4096, 8, 2048, 0.9, 1, 1, Prediction(1, 0.05, 100, 400, 8, 1.0))
WHY = Reason("Test", "because")


def pod(name: str = "w", rank: int = 0, **changes: object) -> WorkerPod:
    made = WorkerPod(
        name=f"{name}-{rank}",
        uid=f"uid-{name}-{rank}",
        rank=rank,
        phase=PodPhase.RUNNING,
        created_at=0.0,
        node=f"node-{name}",
        ip="10.0.0.1",
        serving=True,
        containers_ready=True,
        ready=True,
        ready_since=10.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def worker(
    name: str = "w", kind: CapacityType = CapacityType.ON_DEMAND, revision: str = "new", **changes: object
) -> Worker:
    return Worker(name, revision, OfferKey("pool", kind), (pod(name, **changes),))


def scene(now: float = NOW, **changes: object) -> Scene:
    return replace(Scene(SPEC, LAYOUT, "new", {}, now), **changes)  # type: ignore[arg-type]


def heard(name: str = "w", phase: str = "serving", in_flight: int = 0) -> dict[str, EngineSample]:
    return {name: EngineSample(name, NOW, in_flight, 0, in_flight=in_flight, gate_phase=phase)}


def going(
    kind: InterruptionKind, deadline: float | None, name: str = "w", source: str = "taint"
) -> dict[str, Interruption]:
    return {f"node-{name}": Interruption(kind, f"node-{name}", NOW, deadline, source)}


def names(actions: tuple[Action, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


# -- who must leave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "deadline", "source", "cause", "bound"),
    [
        (InterruptionKind.INTERRUPTION, NOW + 120, "taint", CAUSE.INTERRUPTION, NOW + 115),
        (InterruptionKind.INTERRUPTION, NOW + 15, "taint", CAUSE.INTERRUPTION, NOW + 11.25),
        (InterruptionKind.INTERRUPTION, None, "worker", CAUSE.INTERRUPTION, NOW + 25),
        (InterruptionKind.MAINTENANCE, NOW + 3600, "taint", CAUSE.NODE_DRAIN, NOW + 3595),
        (InterruptionKind.REBALANCE, None, "taint", CAUSE.REBALANCE, None),
        (InterruptionKind.VOLUNTARY, None, "cordon", CAUSE.NODE_DRAIN, None),
        (InterruptionKind.VOLUNTARY, None, "taint karpenter.sh/disrupted", CAUSE.CONSOLIDATION, None),
        (InterruptionKind.LOST, NOW, "node gone", CAUSE.INTERRUPTION, NOW),
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
        ({"disruption": Reason("EvictionByEvictionAPI", "evicted")}, CAUSE.NODE_DRAIN),
        ({"disruption": Reason("DeletionByTaintManager", "tainted")}, CAUSE.NODE_DRAIN),
        ({"disruption": Reason("PreemptionByScheduler", "preempted")}, CAUSE.NODE_DRAIN),
        ({"disruption": Reason("TerminationByKubelet", "node shutdown")}, CAUSE.INTERRUPTION),
        ({"deleted_at": NOW + 30}, CAUSE.NODE_DRAIN),
        ({"drain": Drain(CAUSE.SCALE_DOWN, 900.0, None)}, CAUSE.SCALE_DOWN),
        ({"phase": PodPhase.FAILED}, CAUSE.NODE_DRAIN),
    ],
)
def test_a_pod_that_is_told_to_end_makes_its_worker_leave(
    changes: dict[str, object], cause: DrainCause
) -> None:
    (found,) = find_departures([worker(**changes)], scene())  # type: ignore[arg-type]
    assert found.drain.cause is cause


def test_a_healthy_worker_stays() -> None:
    assert find_departures([worker()], scene(samples=heard())) == ()


def test_a_worker_that_refuses_of_its_own_accord_is_believed() -> None:
    (found,) = find_departures([worker()], scene(samples=heard(phase="closing")))
    assert found.reason.code == "GateClosed"


def test_a_stronger_cause_takes_over_and_the_start_stays() -> None:
    leaving = worker(drain=Drain(CAUSE.SCALE_DOWN, 900.0, 1200.0))
    doomed = going(InterruptionKind.INTERRUPTION, NOW + 60)
    (found,) = find_departures([leaving], scene(interruptions=doomed))
    assert found.drain == Drain(CAUSE.INTERRUPTION, 900.0, NOW + 55)


def test_a_later_deadline_loosens_nothing() -> None:
    leaving = worker(drain=Drain(CAUSE.INTERRUPTION, 990.0, 1010.0))
    doomed = going(InterruptionKind.INTERRUPTION, NOW + 120)
    (found,) = find_departures([leaving], scene(interruptions=doomed))
    assert found.drain.deadline == 1010.0


# -- the machine ---------------------------------------------------------------------------------------------


def test_a_scale_down_walks_through_every_step_once() -> None:
    others = [worker("other")]
    leaving = worker()
    departure = ask_to_leave(leaving, CAUSE.SCALE_DOWN, WHY, NOW)
    marked, out = drain([departure], others, 1, scene(samples=heard(in_flight=2)))
    assert isinstance(marked, MarkDraining)
    assert marked.drain == Drain(CAUSE.SCALE_DOWN, NOW, NOW + 300)
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
    leaving = worker(serving=False, ready=False, drain=Drain(CAUSE.SCALE_DOWN, 700.0, NOW))
    (gone,) = step(leaving, [worker("other")], heard(phase="refusing", in_flight=3))
    assert isinstance(gone, DeletePod)
    assert (gone.reason.code, gone.grace_seconds) == ("DeadlineReached", 5)
    assert "3 requests in flight" in gone.reason.message


def test_one_that_the_kubelet_is_ending_is_not_cut_off_before_the_kubelet_must() -> None:
    leaving = worker(
        serving=False,
        ready=False,
        drain=Drain(CAUSE.INTERRUPTION, 700.0, NOW),
        disruption=Reason("TerminationByKubelet", "node shutdown"),
    )
    assert step(leaving, [worker("other")], heard(phase="refusing", in_flight=3)) == ()


def test_one_that_is_not_heard_is_left_until_the_deadline() -> None:
    leaving = worker(serving=False, ready=False, drain=Drain(CAUSE.SCALE_DOWN, 900.0, NOW + 100))
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
def test_one_that_serves_nothing_is_deleted_without_ceremony(changes: dict[str, object]) -> None:
    leaving = worker(**changes)  # type: ignore[arg-type]
    actions = drain([ask_to_leave(leaving, CAUSE.SCALE_DOWN, WHY, NOW)], [worker("other")], 1, scene())
    assert names(actions) == ["DeletePod"]


def test_one_whose_gate_is_closing_is_not_ready_and_still_takes_what_is_on_its_way() -> None:
    leaving = worker(
        serving=False, ready=False, containers_ready=False, drain=Drain(CAUSE.SCALE_DOWN, 900.0, NOW + 100)
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
        (CAUSE.INTERRUPTION, 1, 2, True),
        (CAUSE.INTERRUPTION, 0, 1, False),
        (CAUSE.SCALE_DOWN, 1, 1, True),
        (CAUSE.SCALE_DOWN, 0, 1, False),
        (CAUSE.SCALE_DOWN, 0, 0, True),
        (CAUSE.ROLLOUT, 0, 1, False),
        (CAUSE.NODE_DRAIN, 1, 2, False),
        (CAUSE.NODE_DRAIN, 2, 2, True),
        (CAUSE.CONSOLIDATION, 1, 2, False),
        (CAUSE.REBALANCE, 2, 2, True),
        (CAUSE.DELETION, 0, 1, True),
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
    both = [ask_to_leave(worker(name), CAUSE.NODE_DRAIN, WHY, NOW) for name in ("a", "b")]
    actions = drain(both, [worker("new")], 2, scene())
    assert [action.pod for action in actions if isinstance(action, SetServing)] == ["a-0"]


@pytest.mark.parametrize(
    ("notice", "output_tokens", "start"),
    [(120, 2000, 60.0), (30, 2000, 15.0), (1000, 200, 960.0)],
    ids=["half of the notice", "half of a short notice", "what the longest request needs"],
)
def test_the_sole_replica_starts_to_drain_in_time(notice: float, output_tokens: int, start: float) -> None:
    at = scene(spec=replace(SPEC, workload=Workload(1000, output_tokens)))
    drained = Drain(CAUSE.INTERRUPTION, NOW, NOW + notice)
    assert latest_start(drained, at) == pytest.approx(NOW + start)
    doomed = Departure(worker(), drained, WHY)
    before, after = replace(at, now=NOW + start - 1), replace(at, now=NOW + start + 1)
    assert names(drain([doomed], [], 1, before)) == ["MarkDraining"]
    assert names(drain([doomed], [], 1, after)) == ["MarkDraining", "SetServing"]


def test_a_short_notice_leaves_little_time_to_settle() -> None:
    leaving = worker(serving=False, ready=False, drain=Drain(CAUSE.INTERRUPTION, NOW, NOW + 12))
    (told,) = step(leaving, [worker("other")], heard(in_flight=1))
    assert isinstance(told, AnnounceDrain)
    assert told.settle_seconds == 3.0


def test_marks_come_before_gates_and_gates_before_deletes() -> None:
    idle = worker("idle", serving=None, ready=False)
    departures = [ask_to_leave(w, CAUSE.SCALE_DOWN, WHY, NOW) for w in (idle, worker("busy"))]
    assert names(drain(departures, [worker("other")], 1, scene())) == [
        "MarkDraining",
        "SetServing",
        "DeletePod",
    ]


# -- groups --------------------------------------------------------------------------------------------------


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
    actions = drain(find_departures([half], at), [worker("other")], 1, at)
    assert [action.pod for action in actions if isinstance(action, MarkDraining)] == ["g-0"]


# -- into service --------------------------------------------------------------------------------------------


def test_who_can_serve_and_stays_is_put_into_service_once() -> None:
    (opened,) = put_into_service([worker(serving=None, ready=False)])
    assert opened == SetServing("w-0", "uid-w-0", serving=True, reason=opened.reason)
    assert len(put_into_service([worker(serving=False, ready=False)])) == 1
    assert put_into_service([worker()]) == ()
    assert put_into_service([worker(serving=None, ready=False, containers_ready=False)]) == ()


def test_a_leader_waits_for_its_group() -> None:
    loading = pod("g", 1, serving=None, containers_ready=False, ready=False)
    assert put_into_service([group(pod("g", 0, serving=None, ready=False), loading)]) == ()


# -- victims -------------------------------------------------------------------------------------------------


def test_victims_are_the_unready_then_the_least_busy_then_the_dear_then_the_risky_then_the_young() -> None:
    spot = OfferKey("pool", CapacityType.SPOT)
    made = {
        "unready": worker("unready", ready=False),
        "idle": worker("idle"),
        "young": worker("young", created_at=500.0),
        "busy": worker("busy"),
        "silent": worker("silent"),
        "old revision": worker("old revision", revision="old"),
        "cheap": replace(worker("cheap"), offer=spot),
    }
    samples = {
        name: EngineSample(name, NOW, 0, 0, in_flight=5 if name == "busy" else 0)
        for name in made
        if name not in {"unready", "silent"}
    }
    victims = Victims(
        surplus={CapacityType.ON_DEMAND: 9, CapacityType.SPOT: 9},
        samples=samples,
        price=lambda offer: 0.3 if offer == spot else 1.0,
        revision="new",
    )
    chosen = [victim.name for victim in choose_victims(list(made.values()), victims)]
    assert chosen == ["unready", "old revision", "young", "idle", "cheap", "busy", "silent"]
    two = replace(victims, surplus={CapacityType.SPOT: 1})
    assert [victim.name for victim in choose_victims(list(made.values()), two)] == ["cheap"]


def test_of_equal_victims_the_one_goes_whose_zone_has_most() -> None:
    made = [
        replace(worker(name), offer=OfferKey("p", CapacityType.SPOT, zone))
        for name, zone in (("w1", "a"), ("w2", "b"), ("w3", "b"), ("w4", "b"))
    ]
    chosen = choose_victims(made, Victims(surplus={CapacityType.SPOT: 3}))
    assert [victim.offer.zone for victim in chosen] == ["b", "b", "a"]


# -- rollout -------------------------------------------------------------------------------------------------


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


# -- invariants ----------------------------------------------------------------------------------------------

DRAINS = st.builds(Drain, st.sampled_from(CAUSE), st.just(900.0), st.none() | st.floats(900, 1300))
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
            assert CAUSE_ORDER.index(action.drain.cause) >= CAUSE_ORDER.index(written.cause)
            if written.deadline is not None:
                assert action.drain.deadline is not None
                assert action.drain.deadline <= written.deadline


CAUSE_ORDER = list(CAUSE)


@given(
    st.lists(
        st.sampled_from([CAUSE.SCALE_DOWN, CAUSE.ROLLOUT, CAUSE.NODE_DRAIN, CAUSE.REBALANCE]), max_size=4
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
