"""The course of a drain with time walked by hand: it tightens, never loosens, and ends in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet_wire import DrainRequest, DrainStatus, LaunchPlan, Notice, NoticeKind, Phase
from inferfleet_worker import course
from inferfleet_worker.course import Step

PLAN = LaunchPlan(
    command=("vllm",), grace_seconds=60, margin_seconds=5, settle_seconds=7, notice_grace_seconds=2
)
instants = st.floats(0, 10_000)
requests = st.builds(
    DrainRequest, st.sampled_from(["rollout", "interruption"]), st.none() | instants, st.floats(0, 30)
)


def begin(
    cause: str, deadline: float | None, settle: float, now: float, current: DrainStatus | None = None
) -> DrainStatus:
    return course.begin(current, DrainRequest(cause, deadline, settle), now)


@pytest.mark.parametrize(
    ("deadline", "settle", "refuses_at"),
    [
        (None, 7.0, 107.0),
        (400.0, 7.0, 107.0),
        (125.0, 7.0, 106.25),
        (110.0, 7.0, 102.5),
        (100.0, 7.0, 100.0),
        (50.0, 7.0, 100.0),
        (None, 0.0, 100.0),
    ],
)
def test_the_settling_takes_at_most_a_quarter_of_the_time_left(
    deadline: float | None, settle: float, refuses_at: float
) -> None:
    assert begin("x", deadline, settle, now=100.0).refuses_at == refuses_at


@pytest.mark.parametrize(
    ("now", "cut", "phase"),
    [
        (100.0, False, Phase.CLOSING),
        (106.9, False, Phase.CLOSING),
        (107.0, False, Phase.REFUSING),
        (9999.0, False, Phase.REFUSING),
        (9999.0, True, Phase.STOPPED),
    ],
)
def test_a_drain_closes_at_once_and_refuses_once_settled(now: float, cut: bool, phase: Phase) -> None:
    assert course.phase(begin("x", None, 7.0, now=100.0), now, cut=cut) is phase


def test_without_a_drain_the_gate_serves() -> None:
    assert course.phase(None, 1e9) is Phase.SERVING


def test_the_cause_is_the_one_that_set_the_deadline() -> None:
    rollout = begin("rollout", None, 7.0, now=100.0)
    interrupted = begin("interruption", 120.0, 7.0, now=101.0, current=rollout)
    assert (interrupted.cause, interrupted.deadline, interrupted.started_at) == ("interruption", 120.0, 100.0)
    assert begin("deletion", 400.0, 7.0, now=102.0, current=interrupted) == interrupted
    assert begin("deletion", None, 7.0, now=102.0, current=interrupted) == interrupted


@given(st.lists(st.tuples(requests, st.floats(0, 100)), min_size=1))
def test_whatever_is_asked_in_whatever_order_a_drain_only_tightens(
    steps: list[tuple[DrainRequest, float]],
) -> None:
    now, drain = 0.0, None
    phase = Phase.SERVING
    order = list(Phase)
    for request, pause in steps:
        now += pause
        tightened = course.begin(drain, request, now)
        if drain is not None:
            assert tightened.started_at == drain.started_at
            assert tightened.refuses_at <= drain.refuses_at
            assert drain.deadline is None or (tightened.deadline or 0.0) <= drain.deadline
        asked = request.deadline_epoch_seconds
        assert asked is None or (tightened.deadline is not None and tightened.deadline <= asked)
        assert course.begin(tightened, request, now) == tightened, "asking again changes nothing"
        assert course.begin(tightened, request, now + 1.0) == tightened, "nor does asking again later"
        drain = tightened
        assert order.index(course.phase(drain, now)) >= order.index(phase)
        phase = course.phase(drain, now)


@given(st.floats(0, 5000), st.none() | st.floats(0, 5000), st.floats(0, 30))
def test_last_rides_end_before_the_deadline_and_none_is_given_without_a_drain(
    now: float, left: float | None, settle: float
) -> None:
    drain = begin("x", None if left is None else now + left, settle, now)
    assert course.rides_until(None) == 0.0
    assert drain.deadline is None or course.rides_until(drain) <= drain.deadline


# A terminated pod: drain from 100 to 160, refusing from 107 on, the engine's own drain takes 10 s.
TERMINATED = DrainStatus("termination", 100.0, 107.0, 160.0)


@pytest.mark.parametrize(
    ("now", "in_flight", "stopping_since", "step"),
    [
        (101.0, 0, None, Step.WAIT),
        (106.9, 0, None, Step.WAIT),
        (107.0, 0, None, Step.STOP),
        (107.0, 3, None, Step.WAIT),
        (149.9, 3, None, Step.WAIT),
        (150.0, 3, None, Step.STOP),
        (155.0, 1, 150.0, Step.STOP),
        (120.0, 1, 115.0, Step.STOP),
        (160.0, 1, 150.0, Step.CUT),
        (161.9, 1, 150.0, Step.CUT),
        (162.0, 1, 150.0, Step.KILL),
        (146.9, 0, 107.0, Step.STOP),
        (147.0, 0, 107.0, Step.KILL),
    ],
)
def test_the_stop_waits_for_work_then_asks_then_cuts_then_kills(
    now: float, in_flight: int, stopping_since: float | None, step: Step
) -> None:
    answer = course.stop_step(
        TERMINATED, now, busy=in_flight > 0, shutdown_seconds=10.0, stopping_since=stopping_since
    )
    assert answer is step


@given(st.floats(0, 60), st.integers(0, 3), st.floats(0, 60), st.lists(st.floats(0, 20), max_size=30))
def test_the_stop_never_goes_back_and_always_ends(
    left: float, in_flight: int, shutdown: float, pauses: list[float]
) -> None:
    drain = begin("termination", 100.0 + left, 7.0, now=100.0)
    now, since, reached = 100.0, None, Step.WAIT
    for pause in [*pauses, left + course.KILL_AFTER_SECONDS + 1]:
        now += pause
        step = course.stop_step(
            drain, now, busy=in_flight > 0, shutdown_seconds=shutdown, stopping_since=since
        )
        assert step.value >= reached.value
        assert step is Step.WAIT or now >= drain.refuses_at
        since = now if since is None and step is not Step.WAIT else since
        reached = step
    assert reached is Step.KILL


@pytest.mark.parametrize(
    ("kind", "deadline", "due", "drain_until"),
    [
        (NoticeKind.INTERRUPTION, 130.0, 102.0, 125.0),
        (NoticeKind.INTERRUPTION, 103.0, 102.0, 98.0),
        (NoticeKind.MAINTENANCE, 3700.0, 3635.0, 3695.0),
        (NoticeKind.MAINTENANCE, 130.0, 102.0, 125.0),
        (NoticeKind.MAINTENANCE, None, None, None),
        (NoticeKind.REBALANCE, None, None, None),
        (NoticeKind.REBALANCE, 130.0, None, 125.0),
    ],
)
def test_a_notice_that_nobody_answers_is_acted_on_in_time(
    kind: NoticeKind, deadline: float | None, due: float | None, drain_until: float | None
) -> None:
    notice = Notice(kind, deadline, "aws", "", seen_at=100.0)
    assert course.self_drain_at(notice, PLAN) == due
    assert course.self_drain(notice, PLAN).deadline_epoch_seconds == drain_until


def test_a_termination_ends_before_the_kubelets_patience() -> None:
    assert course.termination(PLAN, 100.0) == DrainRequest("termination", 155.0, 7.0)
    short = LaunchPlan(command=("vllm",), grace_seconds=2, margin_seconds=5)
    assert course.termination(short, 100.0).deadline_epoch_seconds == 100.0
