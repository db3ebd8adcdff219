"""What one pass sees, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inferfleet.values.actions import Action
from inferfleet.values.fleet import (
    Account,
    Interruption,
    LastWords,
    LossCause,
    NodeClaim,
    NodeEvent,
    Worker,
)
from inferfleet.values.hardware import Node, NodePool, Pool, PoolSpec, Price
from inferfleet.values.layout import Layout, Planning
from inferfleet.values.model import ModelFacts
from inferfleet.values.reason import Condition, Event, Reason
from inferfleet.values.scaling import CapacityMemory, EngineSample, ScalingDecision, ScalingMemory
from inferfleet.values.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a pass may look at, gathered before it judges.

    `view_stale` is why the cluster view may not be trusted for anything destructive, None when it may.
    `gpus_taken` counts GPUs requested on each node by pods of anyone. `current_layout` is the layout of the
    newest revision as kept in status, so that a restart or a passing loss of nodes changes no plan.
    `planned_from` is the fingerprint of the part of the spec that layout was planned from.
    `model_problem` is why `model` is None. `claims` and `node_events` say why nodes go, where somebody tells;
    `node_pools` are Karpenter's, None where the cluster has no Karpenter. `interruptions` and `accounts` are
    those of the last pass; `last_words` are of engines that ended lately; `idle_since` says so by worker.
    `previous_conditions` are what was last said, so that an Event tells of a change once. `lost` is the count
    so far. `wake` is True when a request waits for a deployment without replicas. `spec_known` is False when
    no spec ever made sense, so that `spec` holds a name and no wish: then nothing is added or taken away.
    `undone` says what became of the wish to go back to the last spec that worked, None where there is none.
    """

    spec: DeploymentSpec
    workers: tuple[Worker, ...] = ()
    nodes: tuple[Node, ...] = ()
    claims: tuple[NodeClaim, ...] = ()
    node_events: tuple[NodeEvent, ...] = ()
    pool_specs: tuple[PoolSpec, ...] = ()
    prices: tuple[Price, ...] = ()
    gpus_taken: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[EngineSample, ...] = ()
    model: ModelFacts | None = None
    model_problem: Reason | None = None
    spec_problem: Reason | None = None
    current_layout: Layout | None = None
    current_revision: str | None = None
    scaling: ScalingMemory = field(default_factory=ScalingMemory)
    capacity: CapacityMemory = field(default_factory=CapacityMemory)
    interruptions: tuple[Interruption, ...] = ()
    view_stale: Reason | None = None
    planned_from: str | None = None
    previous_conditions: tuple[Condition, ...] = ()
    lost: tuple[tuple[LossCause, int], ...] = ()
    accounts: tuple[Account, ...] = ()
    last_words: tuple[LastWords, ...] = ()
    idle_since: tuple[tuple[str, float], ...] = ()
    wake: bool = False
    spec_known: bool = True
    undone: Reason | None = None
    node_pools: tuple[NodePool, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, what to say, and when to look again. An unchanged world gives no actions and no events.

    `planned_from` and `lost` go to status and come back in the next `Observed`. `finished` is True
    when a deployment that is being deleted has no worker left, so that its finalizer may go. `renders_spec`
    is False while an older revision goes on (the new spec was refused, say): its new workers need its spec.
    `complete` is True while all replicas that are wanted serve in the newest revision, and no others do;
    `leaving` while any is asked to go. `measured` is the layout with what engines report in place of
    estimates: for showing.
    """

    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    conditions: tuple[Condition, ...]
    planning: Planning
    layout: Layout | None
    revision: str | None
    decision: ScalingDecision | None
    pools: tuple[Pool, ...]
    scaling: ScalingMemory
    capacity: CapacityMemory
    interruptions: tuple[Interruption, ...]
    ready: int
    desired: int
    spot_ready: int
    lost: tuple[tuple[LossCause, int], ...]
    accounts: tuple[Account, ...]
    idle_since: tuple[tuple[str, float], ...]
    dollars_per_hour: float
    dollars_per_million_tokens: float | None
    next_look_seconds: float
    planned_from: str | None = None
    finished: bool = False
    renders_spec: bool = True
    measured: Layout | None = None
    complete: bool = False
    leaving: bool = False

    @property
    def lost_requests(self) -> int:
        """Requests that were cut off so far, whatever the cause."""
        return sum(count for _, count in self.lost)

    def __str__(self) -> str:
        return "\n".join(str(action) for action in self.actions) or "nothing to do"
