"""A cluster in memory that does what plans say: nodes, a scheduler, engines, endpoints and streams.

It is walked by hand, a second at a time, and keeps what a real cluster keeps between two lives of the
operator: pods with their annotations, and the part of the last plan that goes into status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from inferfleet import planning
from inferfleet.api import InferenceDeploymentStatus, memory_from_status, status_from_plan
from inferfleet.reconcile import plan
from inferfleet.values import (
    AnnounceDrain,
    AutoscalingSpec,
    CapacitySpec,
    CapacityType,
    CreateWorker,
    DeletePod,
    DeploymentSpec,
    EngineSample,
    EngineSpec,
    LastWords,
    MarkDraining,
    Memory,
    ModelSpec,
    Node,
    NodeClaim,
    Observed,
    Plan,
    PodPhase,
    PoolSpec,
    ProtectPod,
    Reason,
    Requirement,
    RestartWorker,
    SetServing,
    Taint,
    Worker,
    WorkerPod,
)

MODEL_ID = "qwen/qwen2.5-0.5b-instruct"
MODEL = planning.catalogue_facts(MODEL_ID)

START = 1_800_000_000.0


def gpu_node(name: str, capacity_type: CapacityType, zone: str, gpus: int = 4, **labels: str) -> Node:
    """A node with L4s, labelled as GPU Feature Discovery and Karpenter do."""
    return Node(
        name=name,
        uid=f"uid-{name}",
        gpus=gpus,
        labels={
            "kubernetes.io/hostname": name,
            "nvidia.com/gpu.product": "NVIDIA-L4",
            "nvidia.com/gpu.memory": "23034",
            "nvidia.com/gpu.count": str(gpus),
            "node.kubernetes.io/instance-type": "g6.12xlarge",
            "karpenter.sh/capacity-type": capacity_type.value,
            "topology.kubernetes.io/zone": zone,
            **labels,
        },
    )


def deployment(
    autoscaling: AutoscalingSpec | None = None, capacity: CapacitySpec | None = None, **changes: Any
) -> DeploymentSpec:
    """A deployment of a small model with a batch of four."""
    spec = DeploymentSpec(
        name="chat",
        namespace="default",
        uid="uid-chat",
        generation=1,
        model=ModelSpec(MODEL_ID),
        engine=EngineSpec("engine:1", max_num_seqs=4),
        autoscaling=autoscaling or AutoscalingSpec(min_replicas=1, max_replicas=4),
        capacity=capacity or CapacitySpec(),
    )
    return replace(spec, **changes)


@dataclass
class Stream:
    """A request in flight on a worker until `ends_at`."""

    worker: str
    ends_at: float


@dataclass
class Engine:
    """What a worker's pod runs: `phase` is its gate's, `refuses_at` when it stops accepting."""

    ready_at: float | None = None
    phase: str = "serving"
    refuses_at: float | None = None
    tokens: float = 0.0
    arrivals: float = 0.0


@dataclass
class SmallWorld:
    """Nodes, workers, engines and streams; `step` walks one second, observes, plans and obeys."""

    spec: DeploymentSpec
    nodes: dict[str, Node]
    now: float = START
    start_seconds: float = 10.0
    batch: int = 4
    pool_specs: tuple[PoolSpec, ...] = ()
    workers: dict[str, Worker] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    demand: Callable[[float], int] = lambda _now: 0
    pace: Callable[[SmallWorld], float] = lambda _world: 25.0
    dead_nodes: set[str] = field(default_factory=set)
    broken_images: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    last: Plan | None = None
    lost: int = 0
    failed: int = 0
    served: int = 0
    plans: list[tuple[float, Plan]] = field(default_factory=list)
    checks: list[Callable[[SmallWorld, Plan], None]] = field(default_factory=list)
    deaf: bool = False
    last_words: list[LastWords] = field(default_factory=list)
    claims: tuple[NodeClaim, ...] = ()
    notices: dict[str, tuple[str, float | None, str]] = field(default_factory=dict)
    _uids: int = 0

    # -- what happens to it ---------------------------------------------------------------------------------

    def taint(self, node: str, key: str) -> None:
        """Put a NoSchedule taint on a node."""
        self._change_node(node, taints=(*self.nodes[node].taints, Taint(key, "NoSchedule")))

    def restore(self, node: str) -> None:
        """Bring a node back: no taint, no cordon, power on; what ran on it when it died is gone."""
        if node in self.dead_nodes:
            self.dead_nodes.remove(node)
            for worker in self._on(node):
                self._remove(worker, list(worker.pods))
        self._change_node(node, taints=(), unschedulable=False, not_ready_since=None)

    def cordon(self, node: str) -> None:
        """Mark a node unschedulable."""
        self._change_node(node, unschedulable=True)

    def kill(self, node: str) -> None:
        """Cut a node's power: its engines stop, its pods stay in the API."""
        self.dead_nodes.add(node)
        self._change_node(node, not_ready_since=self.now)
        for worker in self._on(node):
            self._lose_streams(worker.name)

    def delete_pod(self, worker: str, grace_seconds: float = 30.0) -> None:
        """`kubectl delete pod`."""
        self._change_pod(worker, deleted_at=self.now + grace_seconds, ready=False)

    def stream(self, worker: str, seconds: float) -> None:
        """Start a request on one worker."""
        self.streams.append(Stream(worker, self.now + seconds))

    def forget(self) -> None:
        """Restart the operator: only what it wrote into the status, as JSON, is known afterwards."""
        if self.last is None:
            return
        text = self.status().model_dump_json(by_alias=True, exclude_none=True)
        self.memory = memory_from_status(InferenceDeploymentStatus.model_validate_json(text))

    def status(self) -> InferenceDeploymentStatus:
        """What the operator writes of its last plan."""
        assert self.last is not None
        return status_from_plan(
            self.last, InferenceDeploymentStatus(), self.spec.generation, self.now, observed=self.observe()
        )

    # -- what is seen of it ---------------------------------------------------------------------------------

    @property
    def endpoints(self) -> list[str]:
        """The workers that the Service sends to."""
        return [
            worker.name
            for worker in self.workers.values()
            if worker.ready and not any(pod.deleted_at is not None for pod in worker.pods)
        ]

    @property
    def staying(self) -> list[Worker]:
        """The workers that nobody has asked to leave."""
        return [worker for worker in self.workers.values() if not worker.leaving]

    def in_flight(self, worker: str) -> int:
        """How many requests a worker has."""
        return sum(stream.worker == worker for stream in self.streams)

    def observe(self) -> Observed:
        """What the operator would see now."""
        return Observed(
            spec=self.spec,
            workers=tuple(self.workers[name] for name in sorted(self.workers)),
            nodes=tuple(self.nodes[name] for name in sorted(self.nodes)),
            pool_specs=self.pool_specs,
            gpus_taken=self._gpus_taken(),
            samples=() if self.deaf else tuple(self._samples()),
            model=MODEL,
            memory=self.memory,
            last_words=tuple(self.last_words),
            claims=self.claims,
        )

    # -- how it moves ---------------------------------------------------------------------------------------

    def step(self, seconds: float = 1.0) -> Plan:
        """Let time pass, then one pass of the operator."""
        self.now += seconds
        self._move()
        return self.act()

    def act(self) -> Plan:
        """One pass of the operator now."""
        made = plan(self.observe(), self.now)
        for check in self.checks:
            check(self, made)
        self.last = made
        self.memory = made.memory
        if made.actions:
            self.plans.append((self.now, made))
        for action in made.actions:
            self._obey(action)
        return made

    def run(self, seconds: float) -> None:
        """Walk so many seconds."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def run_until(self, true: Callable[[SmallWorld], bool], most_seconds: float = 600.0) -> float:
        """Walk until something is true; how long that took."""
        began = self.now
        while not true(self):
            assert self.now - began < most_seconds, f"not true after {most_seconds} s: {self.describe()}"
            self.step()
        return self.now - began

    def describe(self) -> str:
        """One line for each worker, for failing tests."""
        said = "\n".join(f"{c.type} {c.status} {c.reason}" for c in self.last.conditions) if self.last else ""
        return "\n".join([*map(repr, self.workers.values()), said])

    def _move(self) -> None:
        self._schedule()
        for worker in list(self.workers.values()):
            self._run_engine(worker)
        self._refill()
        for stream in [stream for stream in self.streams if stream.ends_at <= self.now]:
            self.streams.remove(stream)
            self.served += 1
        for worker in list(self.workers.values()):
            self._end_deleted(worker)

    def _schedule(self) -> None:
        taken = dict(self._gpus_taken())
        for worker in list(self.workers.values()):
            for rank, pod in enumerate(worker.pods):
                if pod.node is not None or pod.phase is not PodPhase.PENDING:
                    continue
                node = next((n for n in self.nodes.values() if self._fits(n, worker, taken)), None)
                if node is None:
                    said = Reason("Unschedulable", "0/2 nodes are available: Insufficient nvidia.com/gpu")
                    self._change_pod(worker.name, rank, unschedulable=said)
                else:
                    taken[node.name] = taken.get(node.name, 0) + self._gpus(worker)
                    self._change_pod(
                        worker.name,
                        rank,
                        node=node.name,
                        unschedulable=None,
                        phase=PodPhase.RUNNING,
                        ip="10.0.0.1",
                    )
                    if rank == 0:
                        self.engines[worker.name] = Engine(ready_at=self.now + self.start_seconds)

    def _fits(self, node: Node, worker: Worker, taken: dict[str, int]) -> bool:
        free = node.gpus - taken.get(node.name, 0)
        barred = node.unschedulable or node.taints or node.not_ready_since is not None
        requirements = self._requirements[worker.name]
        return not barred and free >= self._gpus(worker) and all(_meets(node, r) for r in requirements)

    def _run_engine(self, worker: Worker) -> None:
        engine, leader = self.engines.get(worker.name), worker.leader
        if (
            engine is None
            or worker.finished
            or leader.node in self.dead_nodes
            or leader.node not in self.nodes
        ):
            return
        if worker.revision in self.broken_images:
            self._change_pods(worker.name, failure=Reason("CrashLoopBackOff", "the engine exits with 1"))
            return
        if engine.refuses_at is not None and self.now >= engine.refuses_at:
            engine.phase = "refusing"
        engine.tokens += self.pace(self) * min(self.batch, self.in_flight(worker.name))
        if engine.ready_at is not None and self.now >= engine.ready_at:
            self._change_pods(worker.name, containers_ready=True)
        self._refresh_ready(worker.name)

    def _refill(self) -> None:
        """Send new requests until as many are in flight as are asked for."""
        wanted = self.demand(self.now)
        while len(self.streams) < wanted:
            name = min(self.endpoints, key=self.in_flight, default=None)
            if name is None or self.engines[name].phase == "refusing":
                self.failed += 1
                return
            self.engines[name].arrivals += 1
            self.stream(name, 8.0 + 2.0 * max(0, self.in_flight(name) - self.batch))

    def _end_deleted(self, worker: Worker) -> None:
        gone = [
            pod
            for pod in worker.pods
            if pod.deleted_at is not None
            and pod.node not in self.dead_nodes
            and (self.now >= pod.deleted_at or not self.in_flight(worker.name))
        ]
        if not gone:
            return
        if all(pod.phase is PodPhase.SUCCEEDED for pod in gone):
            self._remove(worker, gone)
            return
        # as the kubelet does it: the pod is seen ended before it is gone
        self._lose_streams(worker.name)
        for pod in gone:
            self._change_pod(
                worker.name, pod.rank, phase=PodPhase.SUCCEEDED, ready=False, containers_ready=False
            )

    # -- how it obeys ---------------------------------------------------------------------------------------

    def _obey(self, action: object) -> None:
        match action:
            case CreateWorker():
                self._create(action)
            case SetServing():
                self._by_uid(action.uid, lambda name, rank: self._serve(name, rank, action.serving))
            case MarkDraining():
                self._by_uid(action.uid, lambda name, rank: self._change_pod(name, rank, drain=action.drain))
            case AnnounceDrain():
                name = action.pod.rsplit("-", 1)[0]
                engine = self.engines[name]
                if engine.phase == "serving" and self._alive(name):
                    engine.phase = "closing"
                    engine.refuses_at = self.now + action.settle_seconds
            case DeletePod():
                self._by_uid(action.uid, lambda name, rank: self._delete(name, rank, action.grace_seconds))
            case ProtectPod():
                self._by_uid(
                    action.uid, lambda name, rank: self._change_pod(name, rank, protected=action.protect)
                )
            case RestartWorker():
                for _, uid in action.pods:
                    self._by_uid(uid, lambda name, rank: self._delete(name, rank, 0))
            case _:
                raise AssertionError(action)

    def _create(self, action: CreateWorker) -> None:
        if action.worker in self.workers:
            return
        pods = []
        for rank in range(action.layout.nodes_per_replica):
            self._uids += 1
            name = f"{action.worker}-{rank}"
            pods.append(WorkerPod(name, f"pod-{self._uids}", rank, PodPhase.PENDING, self.now))
        self.workers[action.worker] = Worker(
            action.worker, action.revision, action.offer, tuple(pods), action.layout_digest
        )
        self._requirements[action.worker] = action.requirements
        self._gpus_of[action.worker] = action.layout.gpus_per_pod

    def _serve(self, name: str, rank: int, serving: bool) -> None:
        self._change_pod(name, rank, serving=serving)
        self._refresh_ready(name)

    def _delete(self, name: str, rank: int, grace_seconds: int | None) -> None:
        worker = self.workers[name]
        grace = 30 if grace_seconds is None else grace_seconds
        dead = worker.pods[rank].node in self.dead_nodes
        if worker.pods[rank].node is None or worker.finished or grace == 0:
            self._remove(worker, [worker.pods[rank]])
        elif not dead:
            self._change_pod(name, rank, deleted_at=self.now + grace, ready=False)

    def _remove(self, worker: Worker, pods: list[WorkerPod]) -> None:
        if worker.leader in pods:
            self._lose_streams(worker.name)
        left = tuple(pod for pod in worker.pods if pod not in pods)
        if left:
            self.workers[worker.name] = replace(worker, pods=left)
        else:
            del self.workers[worker.name]

    # -- small parts ----------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        self._requirements: dict[str, tuple[Requirement, ...]] = {}
        self._gpus_of: dict[str, int] = {}

    def _samples(self) -> list[EngineSample]:
        samples = []
        for worker in self.workers.values():
            engine = self.engines.get(worker.name)
            if engine is None or not worker.leader.containers_ready or not self._alive(worker.name):
                continue
            busy = self.in_flight(worker.name)
            samples.append(
                EngineSample(
                    worker=worker.name,
                    at=self.now,
                    running=min(self.batch, busy),
                    waiting=max(0, busy - self.batch),
                    kv_usage=min(1.0, busy / 64),
                    generation_tokens_total=engine.tokens,
                    arrivals_total=engine.arrivals,
                    in_flight=busy,
                    gate_phase=engine.phase,
                    notices=tuple(n for node, n in self.notices.items() if node == worker.leader.node),
                )
            )
        return samples

    def _alive(self, name: str) -> bool:
        node = self.workers[name].leader.node
        return node in self.nodes and node not in self.dead_nodes

    def _lose_streams(self, worker: str) -> None:
        lost = [stream for stream in self.streams if stream.worker == worker]
        self.lost += len(lost)
        self.streams = [stream for stream in self.streams if stream.worker != worker]

    def _on(self, node: str) -> list[Worker]:
        return [worker for worker in self.workers.values() if any(pod.node == node for pod in worker.pods)]

    def _gpus(self, worker: Worker) -> int:
        return self._gpus_of[worker.name]

    def _gpus_taken(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        for worker in self.workers.values():
            for pod in worker.pods:
                if pod.node is not None:
                    taken[pod.node] = taken.get(pod.node, 0) + self._gpus(worker)
        return taken

    def _refresh_ready(self, name: str) -> None:
        worker = self.workers[name]
        if worker.leader.node in self.dead_nodes:
            return
        pods = []
        for pod in worker.pods:
            ready = pod.containers_ready and pod.serving is True and pod.deleted_at is None
            since = (pod.ready_since or self.now) if ready else None
            pods.append(replace(pod, ready=ready, ready_since=since))
        self.workers[name] = replace(worker, pods=tuple(pods))

    def _change_node(self, name: str, **changes: Any) -> None:
        self.nodes[name] = replace(self.nodes[name], **changes)

    def _change_pod(self, worker: str, rank: int = 0, **changes: Any) -> None:
        held = self.workers[worker]
        pods = tuple(replace(pod, **changes) if index == rank else pod for index, pod in enumerate(held.pods))
        self.workers[worker] = replace(held, pods=pods)

    def _change_pods(self, worker: str, **changes: Any) -> None:
        for rank in range(len(self.workers[worker].pods)):
            self._change_pod(worker, rank, **changes)

    def _by_uid(self, uid: str, change: Callable[[str, int], None]) -> None:
        for worker in list(self.workers.values()):
            for rank, pod in enumerate(worker.pods):
                if pod.uid == uid:
                    change(worker.name, rank)
                    return


def _meets(node: Node, requirement: Requirement) -> bool:
    value = node.labels.get(requirement.key)
    inside = value in requirement.values
    return {
        "In": inside,
        "NotIn": not inside,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[requirement.operator]
