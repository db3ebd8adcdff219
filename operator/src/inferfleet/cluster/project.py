"""From raw API objects to the values that a pass reads. Pure and forgiving: the objects are not ours."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from inferfleet.values import (
    CapacityType,
    Drain,
    DrainCause,
    LastWords,
    Node,
    OfferKey,
    PodPhase,
    Reason,
    Taint,
    Worker,
    WorkerPod,
    labels,
)
from inferfleet_wire import State, WireError

Raw = Mapping[str, Any]

GPU_SUFFIX: Final = "/gpu"
DEFAULT_GPU_RESOURCE: Final = "nvidia.com/gpu"
# Annotations that tell of a node's end; the rest (network plugins, volumes) changes often and matters not.
NODE_ANNOTATIONS: Final = ("karpenter.sh/", "cluster-autoscaler.kubernetes.io/", f"{labels.GROUP}/")
# Waiting reasons that need a change of the pod, its image or its secrets.
HOPELESS_WAITS: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
CRASH_LOOP_RESTARTS: Final = 3
# What the kubelet says in the Ready condition during a graceful node shutdown.
SHUTTING_DOWN: Final = "node is shutting down"


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One pod of a worker with what its labels say: everything that `group_workers` needs."""

    deployment: str
    worker: str
    revision: str
    offer: OfferKey
    gpus: int
    pod: WorkerPod
    layout: str = ""
    last_words: LastWords | None = None


def key_of(namespace: str, name: str) -> str:
    """The name under which a deployment is woken, looked up and logged."""
    return f"{namespace}/{name}"


def project_pod(raw: Raw) -> PodRecord | None:
    """One worker pod; None for a pod without the operator's labels."""
    metadata, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    tags = metadata.get("labels", {})
    if labels.DEPLOYMENT not in tags or labels.WORKER not in tags:
        return None
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    ready = conditions.get("Ready", {})
    is_ready = ready.get("status") == "True"
    containers = status.get("containerStatuses", ())
    return PodRecord(
        deployment=key_of(metadata["namespace"], tags[labels.DEPLOYMENT]),
        worker=tags[labels.WORKER],
        revision=tags.get(labels.REVISION, ""),
        offer=_offer(tags),
        gpus=gpus_of_pod(raw),
        pod=WorkerPod(
            name=metadata["name"],
            uid=metadata["uid"],
            rank=_number(tags.get(labels.RANK)),
            phase=PodPhase(status.get("phase") or PodPhase.PENDING),
            created_at=seconds(metadata["creationTimestamp"]),
            node=spec.get("nodeName"),
            ip=status.get("podIP"),
            serving=_truth(conditions.get(labels.SERVING_GATE)),
            containers_ready=_truth(conditions.get("ContainersReady")) is True,
            ready=is_ready,
            ready_since=_instant(ready.get("lastTransitionTime")) if is_ready else None,
            deleted_at=_instant(metadata.get("deletionTimestamp")),
            unschedulable=_unschedulable(conditions),
            failure=_failure(status),
            disruption=_disruption(conditions),
            restarts=sum(container.get("restartCount", 0) for container in containers),
            drain=read_drain(metadata.get("annotations", {}).get(labels.DRAIN_ANNOTATION)),
            protected=labels.KEEP_NODE.items() <= metadata.get("annotations", {}).items(),
        ),
        layout=tags.get(labels.LAYOUT, ""),
        last_words=read_last_words(tags[labels.WORKER], status),
    )


def group_workers(records: Iterable[PodRecord]) -> tuple[Worker, ...]:
    """The workers that the pods form, by name; pods by rank."""
    groups: dict[str, list[PodRecord]] = defaultdict(list)
    for record in records:
        groups[record.worker].append(record)
    return tuple(
        Worker(
            name=name,
            revision=groups[name][0].revision,
            offer=groups[name][0].offer,
            pods=tuple(sorted((record.pod for record in groups[name]), key=lambda pod: (pod.rank, pod.name))),
            layout=groups[name][0].layout,
        )
        for name in sorted(groups)
    )


def project_node(raw: Raw) -> Node:
    """One node."""
    metadata, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    resource, gpus = _node_gpus(status.get("allocatable", {}))
    ready: Raw = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    since = ready.get("lastTransitionTime") or metadata["creationTimestamp"]
    return Node(
        name=metadata["name"],
        uid=metadata["uid"],
        gpus=gpus,
        gpu_resource=resource,
        not_ready_since=None if ready.get("status") == "True" else seconds(since),
        shutting_down=ready.get("status") == "False" and SHUTTING_DOWN in ready.get("message", ""),
        unschedulable=bool(spec.get("unschedulable")),
        deleted_at=_instant(metadata.get("deletionTimestamp")),
        taints=tuple(
            Taint(taint["key"], taint["effect"], taint.get("value", "")) for taint in spec.get("taints", ())
        ),
        labels=dict(metadata.get("labels", {})),
        annotations={
            name: text
            for name, text in metadata.get("annotations", {}).items()
            if name.startswith(NODE_ANNOTATIONS)
        },
    )


def project_gpu_use(raw: Raw) -> tuple[str, int] | None:
    """Node and GPUs of a pod of anyone; None for a pod that holds none (not placed, ended, no GPUs)."""
    node, gpus = raw.get("spec", {}).get("nodeName"), gpus_of_pod(raw)
    ended = raw.get("status", {}).get("phase") in {PodPhase.SUCCEEDED, PodPhase.FAILED}
    return (node, gpus) if node and gpus and not ended else None


def gpus_of_pod(raw: Raw) -> int:
    """GPUs that the scheduler counts for a pod: all containers together, or its largest init container."""
    spec = raw.get("spec", {})
    running = sum(map(_container_gpus, spec.get("containers", ())))
    return max([running, *map(_container_gpus, spec.get("initContainers", ()))])


def gpus_taken(others: Iterable[tuple[str, int]], workers: Iterable[PodRecord]) -> dict[str, int]:
    """GPUs asked for on each node, by anyone's pods and by the fleet's."""
    taken: dict[str, int] = defaultdict(int)
    for node, gpus in others:
        taken[node] += gpus
    for record in workers:
        if record.pod.node and record.pod.phase not in {PodPhase.SUCCEEDED, PodPhase.FAILED}:
            taken[record.pod.node] += record.gpus
    return dict(taken)


def write_drain(drain: Drain) -> str:
    """The annotation that keeps a drain; `read_drain` is its inverse."""
    return json.dumps(
        {"cause": drain.cause.value, "startedAt": drain.started_at, "deadline": drain.deadline},
        separators=(",", ":"),
    )


def read_drain(text: str | None) -> Drain | None:
    """The drain in an annotation; None where there is none or where somebody else wrote nonsense."""
    if text is None:
        return None
    try:
        fields = json.loads(text)
        deadline = fields.get("deadline")
        return Drain(
            cause=DrainCause(fields["cause"]),
            started_at=float(fields["startedAt"]),
            deadline=None if deadline is None else float(deadline),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_last_words(worker: str, status: Raw) -> LastWords | None:
    """What the supervisor of the engine that ended last left as its container's termination message."""
    for container in status.get("containerStatuses", ()):
        for state in (container.get("state", {}), container.get("lastState", {})):
            message = (state.get("terminated") or {}).get("message", "")
            try:
                left = State.from_json(message)
            except WireError:
                continue
            lost = tuple((cause, float(count)) for cause, count in sorted(left.lost_total.items()))
            return LastWords(worker, left.instance, lost)
    return None


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of an RFC 3339 timestamp."""
    return datetime.fromisoformat(timestamp).timestamp()


def _instant(timestamp: str | None) -> float | None:
    return seconds(timestamp) if timestamp else None


def _truth(condition: Raw | None) -> bool | None:
    return None if condition is None else condition.get("status") == "True"


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _offer(tags: Mapping[str, str]) -> OfferKey:
    try:
        bought = CapacityType(tags.get(labels.CAPACITY_TYPE, ""))
    except ValueError:
        bought = CapacityType.ON_DEMAND
    return OfferKey(tags.get(labels.POOL, ""), bought, tags.get(labels.ZONE, ""))


def _unschedulable(conditions: Mapping[str, Raw]) -> Reason | None:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Reason("Unschedulable", scheduled.get("message", ""))
    return None


def _disruption(conditions: Mapping[str, Raw]) -> Reason | None:
    target = conditions.get("DisruptionTarget", {})
    if target.get("status") != "True":
        return None
    return Reason(target.get("reason", "DisruptionTarget"), target.get("message", ""))


def _failure(status: Raw) -> Reason | None:
    """Why the pod will not mend by waiting: it has ended, cannot start, or crashes again and again."""
    if status.get("phase") == PodPhase.FAILED:
        return Reason(status.get("reason") or "Failed", status.get("message") or _last_words(status))
    for container in _containers(status):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        crashing = reason == "CrashLoopBackOff" and container.get("restartCount", 0) >= CRASH_LOOP_RESTARTS
        if reason in HOPELESS_WAITS or crashing:
            message = waiting.get("message", "")
            return Reason(reason, f"container {container['name']}: {_last_words(status) or message}")
    return None


def _last_words(status: Raw) -> str:
    """What the container that ended last left as its termination message."""
    for container in _containers(status):
        for state in (container.get("state", {}), container.get("lastState", {})):
            ended = state.get("terminated")
            if ended:
                said = ended.get("message", "").strip() or ended.get("reason", "")
                return f"exit code {ended.get('exitCode')}: {said[-500:]}"
    return ""


def _containers(status: Raw) -> Iterator[Raw]:
    yield from status.get("initContainerStatuses", ())
    yield from status.get("containerStatuses", ())


def _container_gpus(container: Raw) -> int:
    asked = container.get("resources", {})
    amounts = {**asked.get("requests", {}), **asked.get("limits", {})}
    return sum(int(amount) for name, amount in amounts.items() if name.endswith(GPU_SUFFIX))


def _node_gpus(allocatable: Mapping[str, str]) -> tuple[str, int]:
    found = {name: int(amount) for name, amount in sorted(allocatable.items()) if name.endswith(GPU_SUFFIX)}
    resource = next((name for name, gpus in found.items() if gpus), next(iter(found), DEFAULT_GPU_RESOURCE))
    return resource, found.get(resource, 0)
