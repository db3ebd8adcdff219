"""The operator in the simulator: its own `reconcile.plan` on a simulated cluster, actions carried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from inferfleet.reconcile import plan
from inferfleet.simulate.nodes import SimulatedNode
from inferfleet.simulate.world import Replica, World
from inferfleet.values import (
    Action,
    AnnounceDrain,
    CreateWorker,
    DeletePod,
    DeploymentSpec,
    Drain,
    MarkDraining,
    Memory,
    ModelFacts,
    Node,
    Observed,
    PodPhase,
    PoolSpec,
    ProtectPod,
    Reason,
    RestartWorker,
    ScalingMemory,
    SetServing,
    Worker,
    WorkerPod,
)
from inferfleet.values.frozen import replace

EPOCH = 1_800_000_000.0
"""The operator's clock at the start of a run."""

NOTICE_DELAY_SECONDS = 0.2
"""From a change in the cluster to the pass that it wakes."""

UNSCHEDULABLE = Reason("Unschedulable", "0 nodes are available: Insufficient GPUs")


class Held:
    """What the API server holds of one worker beside the replica that runs: annotations, gates, uids."""

    __slots__ = (
        "deleted_at",
        "drain",
        "gate_phase",
        "layout",
        "protected",
        "replica",
        "revision",
        "serving",
        "worker",
    )

    def __init__(self, replica: Replica, revision: str, layout: str) -> None:
        """A worker that was just created."""
        self.replica, self.revision, self.layout = replica, revision, layout
        self.serving: bool | None = None
        self.drain: Drain | None = None
        self.deleted_at: float | None = None
        self.gate_phase = "serving"
        self.protected = True
        self.worker: Worker | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The cluster as the operator sees it, kept while nothing in it changes. `held` are by name."""

    held: tuple[Held, ...]
    workers: tuple[Worker, ...]
    nodes: tuple[Node, ...]
    gpus_taken: Mapping[str, int]


class Operator:
    """Observes, plans and obeys, as often as the plan says and whenever the cluster changes."""

    def __init__(
        self, world: World, spec: DeploymentSpec, model: ModelFacts, pools: tuple[PoolSpec, ...], initial: int
    ) -> None:
        """An operator whose deployment has had `initial` replicas until now, which come up warm."""
        self._world, self._spec = world, spec
        self._memory = Memory(scaling=ScalingMemory(desired=initial))
        self._known = Observed(spec=spec, pool_specs=pools, model=model)
        self._held: dict[str, Held] = {}
        self._view: View | None = None
        self._looks = 0
        self.name = "inferfleet"
        self.desired = initial
        self.changes = 0
        self.passes = 0
        world.on_change = self._changed
        world.on_notice = self._noticed
        # a pass reads the latencies of requests, where it is told of them
        world.by_token = False
        world.warm = True
        self._look()
        world.warm = False
        self._look()

    # -- when -----------------------------------------------------------------------------------------------

    def _wake(self, delay_seconds: float) -> None:
        """Look then, unless another look comes before."""
        self._looks += 1
        look = self._looks
        self._world.clock.call(delay_seconds, lambda: self._look() if look == self._looks else None)

    def _changed(self, replica: Replica) -> None:
        held = self._held.get(replica.name)
        if held is None:
            return
        self._touch(held)
        if replica.gone:
            del self._held[replica.name]
        self._wake(NOTICE_DELAY_SECONDS)

    def _noticed(self, _node: SimulatedNode) -> None:
        self._wake(NOTICE_DELAY_SECONDS)

    def _look(self) -> None:
        made = plan(self._observe(), self._now)
        self.passes += 1
        self.changes += made.desired != self.desired
        self.desired = made.desired
        self._memory = made.memory
        for action in made.actions:
            self._obey(action)
        ready = len(self._world.endpoints)
        self._world.look(ready=ready, pending=len(self._held) - ready, desired=self.desired)
        self._wake(made.next_look_seconds)

    # -- what it sees ---------------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return EPOCH + self._world.clock.now

    def _observe(self) -> Observed:
        """What a pass sees."""
        now, clock = self._now, self._world.clock.now
        nodes = self._world.nodes.seen()
        view = self._view
        if view is None or view.nodes is not nodes:
            view = self._view = self._look_around(nodes)
        return replace(
            self._known,
            memory=self._memory,
            workers=view.workers,
            nodes=nodes,
            gpus_taken=view.gpus_taken,
            samples=tuple(
                [
                    engine.sample(now, clock, held.gate_phase)
                    for held in view.held
                    if (engine := held.replica.engine)
                ]
            ),
            wake=bool(self._world.held),
        )

    def _touch(self, held: Held) -> None:
        """A worker changes: what was seen of it is out of date."""
        held.worker = self._view = None

    def _look_around(self, nodes: tuple[Node, ...]) -> View:
        held = tuple(self._held[name] for name in sorted(self._held))
        taken: Counter[str] = Counter()
        for each in held:
            taken.update({node.value.name: each.replica.gpus for node in each.replica.nodes if node.ready})
        return View(held, tuple(each.worker or self._project(each) for each in held), nodes, taken)

    def _project(self, held: Held) -> Worker:
        """The worker as its pods' status would tell it; kept until it changes."""
        replica = held.replica
        ready = replica.loaded and held.serving is True and held.deleted_at is None
        pods = tuple(
            WorkerPod(
                name=f"{replica.name}-{rank}",
                uid=f"{replica.name}/{rank}/{replica.created_at}",
                rank=rank,
                phase=PodPhase.RUNNING if replica.started else PodPhase.PENDING,
                created_at=EPOCH + replica.created_at,
                node=replica.nodes[rank].value.name if replica.started else None,
                ip="10.0.0.1" if replica.started else None,
                serving=held.serving,
                containers_ready=replica.loaded,
                ready=ready,
                ready_since=EPOCH + replica.ready_at if ready and replica.ready_at is not None else None,
                deleted_at=held.deleted_at,
                unschedulable=None if replica.started else UNSCHEDULABLE,
                drain=held.drain,
                protected=held.protected,
            )
            for rank in range(replica.count)
        )
        held.worker = Worker(replica.name, held.revision, replica.offer, pods, held.layout)
        return held.worker

    # -- what it does ---------------------------------------------------------------------------------------

    def _obey(self, action: Action) -> None:
        match action:
            case CreateWorker():
                replica = self._world.create(
                    action.worker, action.offer, action.layout.gpus_per_pod, action.layout.nodes_per_replica
                )
                self._held[action.worker] = Held(replica, action.revision, action.layout_digest)
                self._view = None
            case SetServing():
                self._serve(action)
            case MarkDraining():
                held = self._of(action.uid)
                held.drain = action.drain
                self._touch(held)
            case AnnounceDrain():
                self._announce(action)
            case DeletePod():
                self._delete(self._of(action.uid), action.grace_seconds)
            case ProtectPod():
                held = self._of(action.uid)
                held.protected = action.protect
                self._touch(held)
            case RestartWorker():
                self._world.remove(self._held[action.worker].replica)
            case _:
                assert_never(action)

    def _of(self, uid: str) -> Held:
        return self._held[uid.partition("/")[0]]

    def _serve(self, action: SetServing) -> None:
        held = self._of(action.uid)
        held.serving = action.serving
        self._world.serve(held.replica, serving=action.serving and held.deleted_at is None)
        self._touch(held)

    def _announce(self, action: AnnounceDrain) -> None:
        held = self._held[action.pod.rpartition("-")[0]]
        if held.gate_phase == "serving":
            held.gate_phase = "closing"
            self._world.clock.call(action.settle_seconds, lambda: self._refuse(held))

    def _refuse(self, held: Held) -> None:
        held.gate_phase = "refusing"
        self._wake(NOTICE_DELAY_SECONDS)

    def _delete(self, held: Held, grace_seconds: int | None) -> None:
        """The kubelet's part: the worker drains until it is idle or its grace is over."""
        replica = held.replica
        if held.deleted_at is not None and grace_seconds != 0:
            return
        if not replica.started or not replica.loaded or grace_seconds == 0:
            self._world.remove(replica)
            return
        grace = 30 if grace_seconds is None else grace_seconds
        held.deleted_at = self._now + grace
        self._touch(held)
        self._world.serve(replica, serving=False)
        self._world.remove_when_idle(replica, self._world.clock.now + grace)
