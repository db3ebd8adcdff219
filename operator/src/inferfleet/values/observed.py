"""What one pass sees, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from inferfleet.values.actions import Action
from inferfleet.values.fleet import (
    Account,
    Heard,
    Interruption,
    LastWords,
    LossCause,
    NodeClaim,
    NodeEvent,
    Worker,
)
from inferfleet.values.frozen import dataclass
from inferfleet.values.hardware import Node, NodePool, Pool, PoolSpec, Price
from inferfleet.values.layout import Layout, Planning
from inferfleet.values.model import ModelFacts
from inferfleet.values.reason import Condition, Event, Reason
from inferfleet.values.scaling import CapacityMemory, EngineSample, ScalingDecision, ScalingMemory
from inferfleet.values.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class Memory:
    """What a pass leaves for the next one. It is kept in status, so that a restart of the operator is none.

    `layout` is that of the newest `revision`, so that a passing loss of nodes changes no plan; `planned_from`
    is the fingerprint of the part of the spec that it was planned from. `conditions` are what was last said,
    so that an Event tells of a change once. `lost` counts requests so far; `idle_since` says so by worker.
    """

    layout: Layout | None = None
    revision: str | None = None
    planned_from: str | None = None
    scaling: ScalingMemory = field(default_factory=ScalingMemory)
    capacity: CapacityMemory = field(default_factory=CapacityMemory)
    conditions: tuple[Condition, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    lost: tuple[tuple[LossCause, int], ...] = ()
    accounts: tuple[Account, ...] = ()
    idle_since: tuple[tuple[str, float], ...] = ()

    @property
    def lost_requests(self) -> int:
        """Requests that were cut off so far, whatever the cause."""
        return sum(count for _, count in self.lost)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a pass may look at, gathered before it judges.

    `memory` is what the last pass left. `view_stale` is why the cluster view may not be trusted for anything
    destructive, None when it may. `gpus_taken` counts GPUs requested on each node by pods of anyone.
    `model_problem` is why `model` is None. `claims` and `node_events` say why nodes go, where somebody tells;
    `node_pools` are Karpenter's. `last_words` are of engines that ended lately. `wake` is True when a request
    waits for a deployment without replicas. `spec_known` is False when no spec ever made sense, so that
    `spec` holds a name and no wish: then nothing is added or taken away. `undone` says what became of the
    wish to go back to the last spec that worked, None where there is none.
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
    memory: Memory = field(default_factory=Memory)
    view_stale: Reason | None = None
    heard: tuple[Heard, ...] = ()
    last_words: tuple[LastWords, ...] = ()
    wake: bool = False
    spec_known: bool = True
    undone: Reason | None = None
    node_pools: tuple[NodePool, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, what to say, and when to look again. An unchanged world gives no actions and no events.

    `memory` goes to status and comes back in the next `Observed`. `finished` is True when a deployment that
    is being deleted has no worker left, so that its finalizer may go. `renders_spec`
    is False while an older revision goes on (the new spec was refused, say): its new workers need its spec.
    `complete` is True while all replicas that are wanted serve in the newest revision, and no others do;
    `leaving` while any is asked to go. `measured` is the layout with what engines report in place of
    estimates: for showing.
    """

    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    memory: Memory
    planning: Planning
    decision: ScalingDecision | None
    pools: tuple[Pool, ...]
    ready: int
    desired: int
    spot_ready: int
    dollars_per_hour: float
    dollars_per_million_tokens: float | None
    next_look_seconds: float
    finished: bool = False
    renders_spec: bool = True
    measured: Layout | None = None
    complete: bool = False
    leaving: bool = False

    @property
    def layout(self) -> Layout | None:
        """The layout to run, if any."""
        return self.memory.layout

    @property
    def revision(self) -> str | None:
        """What new replicas are made from."""
        return self.memory.revision

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is said of the deployment."""
        return self.memory.conditions

    def __str__(self) -> str:
        return "\n".join(str(action) for action in self.actions) or "nothing to do"
