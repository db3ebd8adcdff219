"""Raw objects as API servers send them, and the values that they become."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.cluster.project import (
    gpus_of_pod,
    gpus_taken,
    group_workers,
    project_gpu_use,
    project_node,
    project_pod,
    read_drain,
    seconds,
    write_drain,
)
from inferfleet.values import CapacityType, Drain, DrainCause, OfferKey, PodPhase, Reason, Taint, WorkerPod

CREATED = "2026-01-01T00:00:00Z"
AT = seconds(CREATED)


def worker_pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "llama-abc-0",
            "namespace": "chat",
            "uid": "u1",
            "creationTimestamp": CREATED,
            "labels": {
                "app.kubernetes.io/managed-by": "inferfleet",
                "inferfleet.dev/deployment": "llama",
                "inferfleet.dev/worker": "llama-abc-0",
                "inferfleet.dev/rank": "0",
                "inferfleet.dev/revision": "abc",
                "inferfleet.dev/pool": "l4-x4",
                "inferfleet.dev/capacity-type": "spot",
                "inferfleet.dev/zone": "zone-a",
            },
        },
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "2"}}}],
        },
        "status": {"phase": "Pending", **status},
    }


def pod_of(raw: dict[str, Any]) -> WorkerPod:
    record = project_pod(raw)
    assert record is not None
    return record.pod


def test_a_serving_pod_is_read_whole():
    raw = worker_pod(
        phase="Running",
        podIP="10.1.2.3",
        conditions=[
            {"type": "inferfleet.dev/serving", "status": "True"},
            {"type": "ContainersReady", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"},
            {"type": "PodScheduled", "status": "True"},
        ],
        containerStatuses=[{"name": "engine", "restartCount": 2, "state": {"running": {}}}],
    )
    record = project_pod(raw)
    assert record is not None
    assert (record.deployment, record.worker, record.revision) == ("chat/llama", "llama-abc-0", "abc")
    assert record.offer == OfferKey("l4-x4", CapacityType.SPOT, "zone-a")
    assert record.gpus == 2
    assert record.pod == WorkerPod(
        name="llama-abc-0",
        uid="u1",
        rank=0,
        phase=PodPhase.RUNNING,
        created_at=AT,
        node="n1",
        ip="10.1.2.3",
        serving=True,
        containers_ready=True,
        ready=True,
        ready_since=AT + 60,
        restarts=2,
        protected=False,
    )


def test_a_new_pod_without_any_status_is_pending():
    raw = worker_pod()
    raw["status"], raw["spec"] = {}, {"containers": []}
    assert pod_of(raw) == WorkerPod("llama-abc-0", "u1", 0, PodPhase.PENDING, AT, protected=False)


def test_the_gate_is_unknown_until_it_was_set():
    assert pod_of(worker_pod()).serving is None
    closed = worker_pod(conditions=[{"type": "inferfleet.dev/serving", "status": "False"}])
    assert pod_of(closed).serving is False


@pytest.mark.parametrize("missing", ["inferfleet.dev/deployment", "inferfleet.dev/worker"])
def test_a_pod_that_is_no_worker_is_left_out(missing: str):
    raw = worker_pod()
    del raw["metadata"]["labels"][missing]
    assert project_pod(raw) is None


def test_an_unschedulable_pod_says_what_the_scheduler_said():
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    raw = worker_pod(
        conditions=[
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        ]
    )
    assert pod_of(raw).unschedulable == Reason("Unschedulable", message)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}, "Evicted", "disk pressure"),
        (
            {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no GPUs"},
            "UnexpectedAdmissionError",
            "no GPUs",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    {"name": "engine", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
                ],
            },
            "Failed",
            "exit code 1: Error",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "engine",
                        "restartCount": 0,
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
                    }
                ]
            },
            "ImagePullBackOff",
            "container engine: not found",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "engine",
                        "restartCount": 5,
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                        "lastState": {"terminated": {"exitCode": 2, "message": "unknown flag --x"}},
                    }
                ],
            },
            "CrashLoopBackOff",
            "container engine: exit code 2: unknown flag --x",
        ),
    ],
    ids=["evicted", "refused by the node", "ended", "no image", "crash loop"],
)
def test_what_will_not_mend_by_waiting_is_a_failure(status: dict[str, Any], code: str, words: str):
    assert pod_of(worker_pod(**status)).failure == Reason(code, words)


@pytest.mark.parametrize(
    "state",
    [
        {"waiting": {"reason": "ContainerCreating"}},
        {"waiting": {"reason": "PodInitializing"}},
        {"waiting": {"reason": "CrashLoopBackOff"}},
        {"running": {}},
    ],
    ids=["creating", "initialising", "first crash", "running"],
)
def test_what_may_mend_by_waiting_is_no_failure(state: dict[str, Any]):
    containers = [{"name": "engine", "restartCount": 1, "state": state}]
    assert pod_of(worker_pod(containerStatuses=containers)).failure is None


def test_an_eviction_is_seen_before_the_pod_goes():
    raw = worker_pod(
        conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    )
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:10:00Z"
    pod = pod_of(raw)
    assert pod.disruption == Reason("EvictionByEvictionAPI", "")
    assert pod.deleted_at == AT + 600


@pytest.mark.parametrize("deadline", [None, 1234.5])
def test_a_drain_survives_its_annotation(deadline: float | None):
    drain = Drain(DrainCause.INTERRUPTION, 1000.25, deadline)
    raw = worker_pod()
    raw["metadata"]["annotations"] = {"inferfleet.dev/drain": write_drain(drain)}
    assert pod_of(raw).drain == drain


@pytest.mark.parametrize("text", ["", "yes", "[]", "{}", '{"cause":"boredom","startedAt":1,"deadline":null}'])
def test_a_drain_that_somebody_else_wrote_badly_is_none(text: str):
    assert read_drain(text) is None


def test_pods_form_workers_by_label_and_rank():
    def rank(number: int, worker: str = "w-0") -> Any:
        raw = worker_pod()
        raw["metadata"]["name"] = f"{worker}-{number}"
        raw["metadata"]["labels"] |= {"inferfleet.dev/worker": worker, "inferfleet.dev/rank": str(number)}
        return project_pod(raw)

    workers = group_workers([rank(1), rank(0, "w-1"), rank(0), rank(10), rank(2)])
    assert [(w.name, [p.rank for p in w.pods]) for w in workers] == [("w-0", [0, 1, 2, 10]), ("w-1", [0])]


def gpu_node(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "n1",
            "uid": "u",
            "creationTimestamp": CREATED,
            "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"},
            "annotations": {"csi.volume.kubernetes.io/nodeid": "x", "karpenter.sh/nodepool-hash": "1"},
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "8", "nvidia.com/gpu": "4"},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": CREATED}],
        },
        **changes,
    }


def test_a_node_keeps_what_pools_and_drains_need():
    node = project_node(gpu_node())
    assert (node.name, node.gpus, node.gpu_resource, node.ready) == ("n1", 4, "nvidia.com/gpu", True)
    assert node.taints == (Taint("nvidia.com/gpu", "NoSchedule"),)
    assert node.labels == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert node.annotations == {"karpenter.sh/nodepool-hash": "1"}


@pytest.mark.parametrize(
    ("allocatable", "resource", "gpus"),
    [
        ({"cpu": "8"}, "nvidia.com/gpu", 0),
        ({"amd.com/gpu": "8"}, "amd.com/gpu", 8),
        ({"amd.com/gpu": "0", "nvidia.com/gpu": "2"}, "nvidia.com/gpu", 2),
        ({"nvidia.com/gpu": "0"}, "nvidia.com/gpu", 0),
    ],
)
def test_gpus_are_found_under_the_makers_name(allocatable: dict[str, str], resource: str, gpus: int):
    node = project_node(gpu_node(status={"allocatable": allocatable}))
    assert (node.gpu_resource, node.gpus) == (resource, gpus)


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_node_is_not_ready_since_its_condition_changed(status: str):
    conditions = [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:30Z"}]
    assert project_node(gpu_node(status={"conditions": conditions})).not_ready_since == AT + 30


def test_a_node_that_never_reported_is_not_ready_since_it_was_made():
    assert project_node(gpu_node(status={})).not_ready_since == AT


def test_the_scheduler_counts_all_containers_or_the_largest_init_container():
    def asks(gpus: int) -> dict[str, Any]:
        return {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}

    assert gpus_of_pod({"spec": {"containers": [asks(1), asks(2)], "initContainers": [asks(2)]}}) == 3
    assert gpus_of_pod({"spec": {"containers": [asks(1)], "initContainers": [asks(2)]}}) == 2
    assert gpus_of_pod({"spec": {"containers": [{}]}}) == 0


@pytest.mark.parametrize(
    ("raw", "use"),
    [
        (worker_pod(phase="Running"), ("n1", 2)),
        (worker_pod(phase="Succeeded"), None),
        (worker_pod(phase="Failed"), None),
        ({"spec": {"nodeName": "n1", "containers": [{}]}}, None),
    ],
    ids=["runs", "ended", "failed", "without GPUs"],
)
def test_gpus_are_held_by_placed_pods_that_have_not_ended(raw: dict[str, Any], use: tuple[str, int] | None):
    assert project_gpu_use(raw) == use


def test_the_fleets_own_pods_and_those_of_others_add_up():
    ours, ended = project_pod(worker_pod(phase="Running")), project_pod(worker_pod(phase="Failed"))
    assert ours is not None
    assert ended is not None
    assert gpus_taken([("n1", 1), ("n2", 8)], [ours, ended]) == {"n1": 3, "n2": 8}
