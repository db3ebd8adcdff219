"""The drain machine: Serving, Draining, Drained, Gone. Each step is repeated until the world shows it.

The state is in the world, not here: the pods' annotation says that they drain and until when, the readiness
gate whether the endpoints still carry them, the worker's own report whether it refuses and what it still
runs. So an operator that was away goes on where the workers are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from inferfleet.disruption.departures import BY_KUBELET, Departure, Scene
from inferfleet.values import (
    Action,
    AnnounceDrain,
    DeletePod,
    Drain,
    DrainCause,
    EngineSample,
    MarkDraining,
    Reason,
    RestartWorker,
    SetServing,
    Worker,
)

IDLE_GRACE_SECONDS = 30
"""An idle engine needs only the time to exit."""

TIME_TOLERANCE_SECONDS = 1.0
"""Instants closer than this are the same: annotations may carry whole seconds."""

LONGEST_OVER_MEAN = 3.0
"""The longest request in flight is taken to last this many times the mean one."""

CLOSING = "closing"
"""The gate's phase between serving and refusing."""

AT_ONCE = frozenset({DrainCause.SCALE_DOWN, DrainCause.ROLLOUT})
"""Causes that were only allowed once the rest could carry the load."""


def put_into_service(staying: Iterable[Worker], silent: frozenset[str] = frozenset()) -> tuple[Action, ...]:
    """Set the readiness gate of whoever can serve and stays; the leader's once its whole group can."""
    reason = Reason("ReadyToServe", "the engine answers and the worker stays")
    return tuple(
        [
            SetServing(pod.name, pod.uid, serving=True, reason=reason)
            for worker in staying
            for pod in worker.pods
            if pod.serving is not True and pod.containers_ready and worker.name not in silent
            if pod is not worker.leader or all(each.containers_ready for each in worker.pods)
        ]
    )


def drain(
    departures: Sequence[Departure], staying: Sequence[Worker], desired: int, scene: Scene
) -> tuple[Action, ...]:
    """The next steps of everyone who leaves, marks before gates, gates before announcements, deletes last."""
    out = _may_leave_service(departures, staying, desired, scene)
    turns = [_Turn.of(departure, departure.worker.name in out, scene) for departure in departures]
    return tuple(action for step in STEPS for turn in turns for action in step(turn, scene))


def latest_start(drain: Drain, scene: Scene) -> float | None:
    """When the drain must begin so that the longest request in flight can finish; None without a deadline.

    No more than half of the notice is set aside for it: the replacement needs the other half.
    """
    if drain.deadline is None:
        return None
    needed = scene.spec.drain.settle_seconds + _longest_request_seconds(scene)
    return drain.deadline - min(needed, max(0.0, drain.deadline - drain.started_at) / 2.0)


def _longest_request_seconds(scene: Scene) -> float:
    """From the workload's mean request at the objectives, or else at the layout's predicted pace."""
    predicted = scene.layout.prediction if scene.layout else None
    ttft = scene.spec.objectives.ttft_seconds or (predicted.ttft_seconds if predicted else 0.0)
    itl = scene.spec.objectives.itl_seconds or (predicted.itl_seconds if predicted else 0.0)
    return LONGEST_OVER_MEAN * (ttft + itl * scene.spec.workload.output_tokens)


def _may_leave_service(
    departures: Sequence[Departure], staying: Sequence[Worker], desired: int, scene: Scene
) -> frozenset[str]:
    """Who may leave the endpoints now.

    Somebody must be there to take the traffic. An interrupted worker goes as soon as half of what is wanted
    serves without it, for fewer would only queue and cut what a notice leaves time for; one that goes by
    choice goes when its replacement is Ready. At the latest start of its drain everybody goes.
    """
    others = sum(worker.ready for worker in staying)
    covered = others > 0 or desired == 0
    serving = sorted(
        (d for d in departures if d.worker.ready and not d.ending),
        key=lambda d: (d.drain.deadline or float("inf"), d.worker.name),
    )
    patient = [d.worker.name for d in serving if _is_patient(d)]
    replaced = max(0, others + len(patient) - desired)
    prompt = [d.worker.name for d in serving if not _is_patient(d)]
    free_to_go = {*patient[:replaced], *prompt} - _kept(prompt, desired // 2 - others, scene)
    due = {d.worker.name for d in serving if _is_due(d.drain, scene)}
    torn = {d.worker.name for d in departures if d.torn}
    return frozenset((free_to_go if covered else set()) | due | torn)


def _is_patient(departure: Departure) -> bool:
    """True if it goes by choice and was not let go yet: it waits until it is replaced."""
    return not departure.forced and departure.drain.cause not in AT_ONCE


def _kept(prompt: Sequence[str], missing: int, scene: Scene) -> set[str]:
    """Who of these workers serves on for want of others: those with the most time, which stand last.

    One that heard of the notice itself does not wait for us: it refuses within seconds.
    """
    if missing <= 0:
        return set()
    told = {name for name, sample in scene.samples.items() if sample.notices}
    return set([name for name in prompt if name not in told][-missing:])


def _is_due(drain: Drain, scene: Scene) -> bool:
    """True when waiting for others is over: the deployment itself goes, or the time is needed to drain."""
    start = latest_start(drain, scene)
    return drain.cause is DrainCause.DELETION or (start is not None and scene.now >= start)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One departure in this pass. `out` says that it may leave, or has left, the endpoints."""

    departure: Departure
    worker: Worker
    drain: Drain
    out: bool
    sample: EngineSample | None
    end: Reason | None

    @classmethod
    def of(cls, departure: Departure, out: bool, scene: Scene) -> _Turn:
        worker = departure.worker
        out = out or worker.leader.serving is False
        sample = scene.samples.get(worker.name)
        turn = cls(departure, worker, departure.drain, out, sample, None)
        if out:
            turn = replace(turn, drain=_bounded(departure, scene))
        return replace(turn, end=next(filter(None, (end(turn, scene) for end in ENDS)), None))


def _bounded(departure: Departure, scene: Scene) -> Drain:
    """Once out of service the drain has a deadline; a tighter one stays."""
    until = scene.now + scene.spec.drain.timeout_seconds
    deadline = departure.drain.deadline
    return replace(departure.drain, deadline=until if deadline is None else min(deadline, until))


def _over(turn: _Turn, _scene: Scene) -> Reason | None:
    """The node is dead or the pod has ended: what was in flight is lost already."""
    return turn.departure.over


def _never_served(turn: _Turn, _scene: Scene) -> Reason | None:
    """It was never in service, or its engine is down with nothing in flight.

    A worker whose gate is closing is not ready either, and yet still accepts what is on its way.
    """
    leader = turn.worker.leader
    alive = turn.sample is not None and (turn.sample.in_flight > 0 or turn.sample.gate_phase == CLOSING)
    if leader.serving is None or (not leader.containers_ready and not alive):
        return Reason("NotServing", f"{turn.departure.reason.message}; it serves nothing")
    return None


def _idle(turn: _Turn, _scene: Scene) -> Reason | None:
    """Out of the endpoints, refusing, and nothing in flight: drained."""
    sample = turn.sample
    if turn.worker.leader.serving is not False or sample is None:
        return None
    if sample.gate_phase in {"serving", CLOSING} or sample.in_flight > 0:
        return None
    return Reason("Drained", f"{turn.worker.name} is idle after its drain for {turn.drain.cause}")


def _overdue(turn: _Turn, scene: Scene) -> Reason | None:
    """The time is up. What the kubelet is ending already it cuts off itself, and not before it must."""
    ending = any(pod.disruption and pod.disruption.code == BY_KUBELET for pod in turn.worker.pods)
    if turn.drain.deadline is None or scene.now < turn.drain.deadline or ending:
        return None
    left = turn.sample.in_flight if turn.sample else 0
    return Reason("DeadlineReached", f"drain for {turn.drain.cause} is over with {left} requests in flight")


ENDS: tuple[Callable[[_Turn, Scene], Reason | None], ...] = (_over, _never_served, _idle, _overdue)
"""Why a worker may be deleted now; the first that applies."""


def _mark(turn: _Turn, _scene: Scene) -> Iterable[Action]:
    """Write the drain down, so that it survives the operator. Deadlines only tighten."""
    if turn.end is not None:
        return
    for pod in turn.worker.pods:
        if pod.deleted_at is None and not _says(pod.drain, turn.drain):
            yield MarkDraining(pod.name, pod.uid, turn.drain, turn.departure.reason)


def _says(written: Drain | None, wanted: Drain) -> bool:
    if written is None or written.cause is not wanted.cause:
        return False
    if wanted.deadline is None or written.deadline is None:
        return wanted.deadline is None
    return written.deadline <= wanted.deadline + TIME_TOLERANCE_SECONDS


def _take_out(turn: _Turn, _scene: Scene) -> Iterable[Action]:
    """Close the readiness gate: the endpoints follow."""
    if not turn.out or turn.end is not None:
        return
    for pod in turn.worker.pods:
        if pod.serving is True and pod.deleted_at is None:
            yield SetServing(pod.name, pod.uid, serving=False, reason=turn.departure.reason)


def _announce(turn: _Turn, scene: Scene) -> Iterable[Action]:
    """Tell the worker once its gate is closed, until it says that it knows."""
    leader = turn.worker.leader
    knows = turn.sample is not None and turn.sample.gate_phase != "serving"
    if turn.end is not None or knows or leader.serving is not False or leader.deleted_at is not None:
        return
    if leader.ip is not None and leader.containers_ready:
        left = max(0.0, (turn.drain.deadline or scene.now) - scene.now)
        settle = min(scene.spec.drain.settle_seconds, left / 4.0)
        yield AnnounceDrain(leader.name, leader.ip, turn.drain, settle, turn.departure.reason)


def _delete(turn: _Turn, scene: Scene) -> Iterable[Action]:
    """Delete exactly these pods. One that is being deleted already is left alone unless its node is dead."""
    if turn.end is None:
        return
    lost = turn.departure.over is not None and turn.departure.forced
    pods = [pod for pod in turn.worker.pods if pod.deleted_at is None or lost]
    if turn.departure.over is not None and not lost and len(pods) > 1:
        yield RestartWorker(turn.worker.name, tuple((pod.name, pod.uid) for pod in pods), turn.end)
        return
    for pod in pods:
        yield DeletePod(pod.name, pod.uid, 0 if lost else _grace_seconds(turn, scene), turn.end)


def _grace_seconds(turn: _Turn, scene: Scene) -> int:
    if turn.end is not None and turn.end.code == "DeadlineReached":
        return max(1, int(scene.spec.drain.margin_seconds))
    return IDLE_GRACE_SECONDS


STEPS: tuple[Callable[[_Turn, Scene], Iterable[Action]], ...] = (_mark, _take_out, _announce, _delete)
