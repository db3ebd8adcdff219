"""The course of a drain, and of the stop at its end: pure, with the instant as an argument.

A drain is a promise to clients (no new work) and a bound (finished by the deadline). It only ever tightens.
The engine itself is stopped only when the pod is terminated; until then a drained worker waits, because a
container that exits by itself would be started again.
"""

from __future__ import annotations

from enum import Enum

from inferfleet_wire import DrainRequest, DrainStatus, LaunchPlan, Notice, NoticeKind, Phase

SETTLE_SHARE = 0.25
"""Of the time left, at most this much goes to requests on their way; the rest belongs to what runs."""

KILL_AFTER_SECONDS = 2.0
"""From the cut to SIGKILL: time for the engine to end the streams with a proper last chunk."""

FOREVER = 253_402_300_799.0
"""The last second of the year 9999: later than any deadline."""

EXIT_SECONDS = 30.0
"""An idle engine that was asked to stop and has not after this and its own drain is hung."""


def begin(current: DrainStatus | None, request: DrainRequest, now: float) -> DrainStatus:
    """The drain after `request`: the earlier deadline and the earlier refusal hold."""
    deadline = request.deadline_epoch_seconds
    settle = request.settle_seconds
    if deadline is not None:
        settle = min(settle, SETTLE_SHARE * max(0.0, deadline - now))
    if current is None:
        return DrainStatus(request.cause, now, now + settle, deadline)
    tighter = deadline is not None and (current.deadline is None or deadline < current.deadline)
    return DrainStatus(
        cause=request.cause if tighter else current.cause,
        started_at=current.started_at,
        refuses_at=min(current.refuses_at, now + settle),
        deadline=deadline if tighter else current.deadline,
    )


def phase(drain: DrainStatus | None, now: float, *, cut: bool = False) -> Phase:
    """What the gates do at `now`; `cut` once the time of a terminated pod is over."""
    if drain is None:
        return Phase.SERVING
    if cut:
        return Phase.STOPPED
    return Phase.CLOSING if now < drain.refuses_at else Phase.REFUSING


def rides_until(drain: DrainStatus | None) -> float:
    """Until when a kept connection gets its one last ride: half the time that is left after the refusal."""
    if drain is None:
        return 0.0
    return FOREVER if drain.deadline is None else (drain.refuses_at + drain.deadline) / 2


class Step(Enum):
    """How far the stop of a terminated pod has come; each step includes those before it.

    WAIT for what runs; STOP: SIGTERM to the engine, which still finishes what it has; CUT: time is over,
    what ends from now on is lost; KILL: SIGKILL to the engine's process group.
    """

    WAIT = 0
    STOP = 1
    CUT = 2
    KILL = 3


def stop_step(
    drain: DrainStatus, now: float, *, busy: bool, shutdown_seconds: float, stopping_since: float | None
) -> Step:
    """Where a terminated pod's stop stands. Its drain must have a deadline: the pod's grace gives one.

    The engine gets its SIGTERM when nothing runs, and at the latest when its own drain
    (`shutdown_seconds`) just fits before the deadline, but never while new requests are still taken: an
    engine that drains answers those with an error.
    """
    deadline = drain.deadline if drain.deadline is not None else now
    hung = stopping_since is not None and now >= stopping_since + shutdown_seconds + EXIT_SECONDS
    if hung or now >= deadline + KILL_AFTER_SECONDS:
        return Step.KILL
    if now >= deadline:
        return Step.CUT
    if now >= drain.refuses_at and (not busy or now >= deadline - shutdown_seconds):
        return Step.STOP
    return Step.STOP if stopping_since is not None else Step.WAIT


def termination(plan: LaunchPlan, now: float) -> DrainRequest:
    """The drain that SIGTERM or preStop begins: it ends before the kubelet's patience does."""
    return DrainRequest(
        "termination", now + max(0.0, plan.grace_seconds - plan.margin_seconds), plan.settle_seconds
    )


def self_drain_at(notice: Notice, plan: LaunchPlan) -> float | None:
    """When the worker acts on a notice that nobody answered; None for mere advice.

    An interruption comes seconds or minutes ahead: the operator gets `notice_grace_seconds`, no more. A
    maintenance can be announced an hour ahead: serving goes on until what the pod's grace allows is left.
    """
    answered_by = notice.seen_at + plan.notice_grace_seconds
    if notice.kind is NoticeKind.INTERRUPTION:
        return answered_by
    if notice.kind is NoticeKind.MAINTENANCE and notice.deadline is not None:
        return max(answered_by, notice.deadline - plan.margin_seconds - plan.grace_seconds)
    return None


def self_drain(notice: Notice, plan: LaunchPlan) -> DrainRequest:
    """The drain that a notice asks for."""
    deadline = None if notice.deadline is None else max(0.0, notice.deadline - plan.margin_seconds)
    return DrainRequest(notice.kind.value, deadline, plan.settle_seconds)
