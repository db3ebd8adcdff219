"""What a pass says: conditions with their numbers, and Events for what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from inferfleet import capacity
from inferfleet.layouts import Choice
from inferfleet.planning import Purchase
from inferfleet.supply import Supply
from inferfleet.values import (
    Action,
    Condition,
    ConditionType,
    CreateWorker,
    DeletePod,
    Event,
    Interruption,
    Layout,
    MarkDraining,
    Observed,
    Reason,
    RestartWorker,
    ScalingDecision,
    Worker,
)

_EXPECTED = frozenset(
    {
        (ConditionType.READY, False),
        (ConditionType.CAPACITY_AVAILABLE, True),
        (ConditionType.SCALING_ACTIVE, True),
        (ConditionType.PROGRESSING, True),
        (ConditionType.DISRUPTED, False),
    }
)
"""What a deployment that was just made says anyway: no news."""

_TALKATIVE = frozenset({ConditionType.SCALING_ACTIVE, ConditionType.PROGRESSING})
"""Their reasons change all the time; only their status is news."""

_BAD_WHEN_TRUE = frozenset({ConditionType.DISRUPTED})


@dataclass(frozen=True, slots=True)
class Findings:
    """What this pass found out, for the conditions to put into words."""

    observed: Observed
    choice: Choice
    supply: Supply
    decision: ScalingDecision
    interruptions: tuple[Interruption, ...]
    measured: Layout | None
    drift: tuple[Reason, ...]
    purchase: Purchase | None

    @property
    def layout(self) -> Layout | None:
        """The layout to run, if any."""
        return self.choice.layout

    @property
    def staying(self) -> tuple[Worker, ...]:
        """The workers that nobody asks to leave."""
        return self.supply.fleet.staying


Verdict = tuple[bool | None, Reason]


def _ready(found: Findings) -> Verdict:
    """Whether requests are answered."""
    ready = sum(worker.ready for worker in found.observed.workers)
    desired = found.decision.desired
    if ready:
        return True, Reason("Serving", f"{ready} of {desired} replicas are ready")
    if desired == 0:
        return True, Reason("ScaledToZero", "no replica is wanted now")
    failing = _first(worker.failure for worker in found.staying)
    if failing:
        return False, Reason("ReplicasFail", f"0 of {desired} replicas are ready: {failing}")
    return False, Reason("NoReplicaReady", f"0 of {desired} replicas are ready")


def _model_resolved(found: Findings) -> Verdict:
    """Whether the model's sizes are known, so that anything can be planned."""
    observed = found.observed
    if observed.spec_problem:
        return False, observed.spec_problem
    if observed.model_problem:
        return False, observed.model_problem
    if observed.model is None:
        return None, Reason("Resolving", f"reading the configuration of {observed.spec.model.id}")
    model = observed.model
    return True, Reason(
        "Resolved", f"{model.model_id}: {model.architecture}, {model.parameters / 1e9:.3g} B parameters"
    )


def _planned(found: Findings) -> Verdict:
    """Whether a layout fits the model, the GPUs and the objectives."""
    if found.observed.spec_problem:
        return False, _with_tail(found.observed.spec_problem, _goes_on(found))
    if found.choice.refused:
        tail = "; ".join(part for part in (found.choice.nearest, _goes_on(found)) if part)
        return False, _with_tail(found.choice.refused, tail)
    if found.layout is None:
        return None, Reason("Waiting", "the model is not resolved yet")
    layout, seen = found.layout, found.measured or found.layout
    speed = seen.prediction
    message = (
        f"{layout} on pool {layout.pool}: {seen.kv_cache_tokens} KV tokens, {speed.concurrency} at once, "
        f"{speed.tokens_per_second:.0f} tokens/s, ${speed.dollars_per_million_tokens:.2f} per million tokens"
    )
    warnings = (*layout.warnings, *found.drift)
    code = found.drift[0].code if found.drift else "Planned"
    return True, Reason(code, "; ".join((message, *(warning.message for warning in warnings))))


def _goes_on(found: Findings) -> str:
    return f"{len(found.staying)} replicas go on as {found.layout}" if found.layout and found.staying else ""


def _capacity_available(found: Findings) -> Verdict:
    """Whether every replica that is wanted has, or will get, a node."""
    if found.layout is None:
        return None, Reason("NoLayout", "nothing is planned yet")
    if found.supply.problem:
        return False, found.supply.problem
    without = capacity.without_node(found.staying)
    if without:
        return _without_node(found, without)
    if found.supply.note:
        return True, Reason("Substituted", found.supply.note)
    return True, Reason("Available", "every replica has a node or one on its way")


def _without_node(found: Findings, without: Sequence[Worker]) -> Verdict:
    """Replicas that no node has room for: one may be on its way, and Karpenter's reasons say more."""
    names = ", ".join(worker.name for worker in without)
    obstacle = found.purchase.obstacle if found.purchase else None
    if found.purchase and obstacle is None:
        return True, Reason("Buying", f"Karpenter is to buy nodes for {names}")
    said = _first(worker.unschedulable for worker in without)
    message = f"{len(without)} of {len(found.staying)} replicas have no node ({names}): "
    message += said.message if said else ""
    return False, _with_tail(obstacle, message) if obstacle else Reason("Unschedulable", message)


def _scaling_active(found: Findings) -> Verdict:
    """Whether the number of replicas follows the load."""
    if found.observed.spec.paused:
        return False, Reason("Paused", f"spec.paused holds {found.decision.desired} replicas")
    if found.decision.reason.code != "NoEvidence":
        return True, found.decision.reason
    served = any(worker.ready for worker in found.staying)
    return (False if served else None), found.decision.reason


def _progressing(found: Findings) -> Verdict:
    """Whether the fleet moves towards its spec, or has arrived there."""
    status, reason = _progress(found)
    undone = found.observed.undone
    return status, _with_tail(reason, undone.message) if undone else reason


def _progress(found: Findings) -> Verdict:
    rollout, revision = found.supply.rollout, found.choice.revision
    if rollout.late:
        tail = "the rollout is halted, the old replicas go on" if rollout.halted else ""
        return False, _with_tail(rollout.late, tail)
    fleet = found.supply.fleet
    ready = sum(worker.ready for worker in fleet.new)
    if found.supply.pause_seconds > 0:
        return True, Reason("BackingOff", "replicas ended by themselves; the next try waits")
    if fleet.old:
        message = f"{ready} replicas of revision {revision} are ready, {len(fleet.old)} older ones are left"
        return True, Reason("RollingOut", message)
    if ready < found.decision.desired:
        return True, Reason("Starting", f"{ready} of {found.decision.desired} replicas are ready")
    return True, Reason("Complete", f"all {ready} replicas run revision {revision}")


def _disrupted(found: Findings) -> Verdict:
    """Whether nodes under replicas are going."""
    told = found.interruptions
    used = {pod.node for worker in found.observed.workers for pod in worker.pods} if told else {}
    going = [item for item in told if item.node in used]
    if not going:
        return False, Reason("Undisturbed", "no node under a replica is going")
    message = ", ".join(f"{item.node} ({item.kind}, {item.source})" for item in going)
    return True, Reason("NodesGoing", message)


VERDICTS: tuple[tuple[ConditionType, Callable[[Findings], Verdict]], ...] = (
    (ConditionType.READY, _ready),
    (ConditionType.MODEL_RESOLVED, _model_resolved),
    (ConditionType.PLANNED, _planned),
    (ConditionType.CAPACITY_AVAILABLE, _capacity_available),
    (ConditionType.SCALING_ACTIVE, _scaling_active),
    (ConditionType.PROGRESSING, _progressing),
    (ConditionType.DISRUPTED, _disrupted),
)


def judge(found: Findings) -> tuple[Condition, ...]:
    """Every condition, always, so that nobody has to guess what an absent one means.

    On a view that cannot be trusted what was said last stands.
    """
    stale = found.observed.view_stale
    if stale is None:
        return tuple(Condition(kind, *verdict(found)) for kind, verdict in VERDICTS)
    said = {condition.type: condition for condition in found.observed.memory.conditions}
    said[ConditionType.PROGRESSING] = Condition(ConditionType.PROGRESSING, None, stale)
    return tuple(said.get(kind, Condition(kind, None, stale)) for kind, _ in VERDICTS)


def announce(
    conditions: Sequence[Condition],
    previous: Sequence[Condition],
    actions: Iterable[Action],
    scaled: Reason | None,
    lost: Reason | None,
) -> tuple[Event, ...]:
    """Events for what changed against what was said last, and for what is about to be done."""
    before = {condition.type: condition for condition in previous}
    events = [_event(condition) for condition in conditions if _is_news(condition, before)]
    if scaled:
        events.append(Event(scaled))
    events.extend(_action_events(actions))
    if lost:
        events.append(Event(lost, warning=True))
    return tuple(dict.fromkeys(events))


def _is_news(condition: Condition, before: Mapping[ConditionType, Condition]) -> bool:
    known = before.get(condition.type)
    if condition.status is None:
        return False
    if known is None or known.status is None:
        return (condition.type, condition.status) not in _EXPECTED
    if condition.type in _TALKATIVE:
        return known.status != condition.status
    return (known.status, known.reason.code) != (condition.status, condition.reason.code)


def _event(condition: Condition) -> Event:
    bad = condition.status if condition.type in _BAD_WHEN_TRUE else not condition.status
    return Event(condition.reason, warning=bool(bad))


def _action_events(actions: Iterable[Action]) -> Iterable[Event]:
    """One Event for each replica that comes, drains or goes; gates and announcements are steps of those."""
    for action in actions:
        match action:
            case CreateWorker():
                yield Event(Reason("Creating", str(action)))
            case MarkDraining():
                yield Event(Reason("Draining", str(action)))
            case DeletePod() | RestartWorker():
                unwell = action.reason.code in {"DeadlineReached", "NodeGoing", "Finished", "GroupBroken"}
                yield Event(Reason(action.reason.code, str(action)), warning=unwell)
            case _:
                pass


def _first(reasons: Iterable[Reason | None]) -> Reason | None:
    return next(filter(None, reasons), None)


def _with_tail(reason: Reason, tail: str) -> Reason:
    return Reason(reason.code, f"{reason.message}; {tail}") if tail else reason
