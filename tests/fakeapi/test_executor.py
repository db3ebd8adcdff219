"""Actions against the fake API server: what is written, what is refused, and what counts as a fact."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_api import FakeApi

from inferfleet.cluster.client import ApiFailure, ApiServer
from inferfleet.cluster.executor import Executor, Seams, apply_objects
from inferfleet.cluster.fence import Fenced, FencedApi
from inferfleet.values import (
    Action,
    AnnounceDrain,
    CapacityType,
    CreateWorker,
    DeletePod,
    Drain,
    DrainCause,
    Layout,
    MarkDraining,
    OfferKey,
    Prediction,
    ProtectPod,
    Reason,
    RestartWorker,
    SetServing,
    labels,
)

PODS = "/api/v1/pods"
WHY = Reason("Test", "because")
DRAIN = Drain(DrainCause.SCALE_DOWN, 100.0, 400.0)
LAYOUT = Layout("pool", "L4", 1, 1, 4096, 8, 2048, 0.9, 1, 1, Prediction(1, 1, 1, 1, 1, 1))
CREATE = CreateWorker("w-0", "r", OfferKey("pool", CapacityType.SPOT), LAYOUT, (), "nvidia.com/gpu", WHY)


@dataclass
class Holder:
    holds: bool = True


@dataclass
class Rig:
    """An executor with its fence, its fold and its announcements in the open."""

    executor: Executor
    holder: Holder
    folded: list[Any]
    announced: list[str]
    broken: list[str] = field(default_factory=list)
    waits_for_a_fold: list[str] = field(default_factory=list)


@pytest.fixture
def rig(api: ApiServer) -> Rig:
    holder, folded, announced = Holder(), [], []
    found = Rig(None, holder, folded, announced)
    any_fold = asyncio.Event()

    def fold(raw: Any) -> None:
        folded.append(raw)
        any_fold.set()

    async def announce(action: AnnounceDrain) -> None:
        if action.pod in found.broken:
            raise TimeoutError("no answer")
        if action.pod in found.waits_for_a_fold:
            async with asyncio.timeout(5):
                await any_fold.wait()
        announced.append(action.pod)

    def render(action: CreateWorker) -> list[dict[str, Any]]:
        return [{"metadata": {"name": f"{action.worker}-{rank}", "namespace": "ns"}} for rank in range(2)]

    found.executor = Executor(FencedApi(api, holder), "ns", Seams(render, announce, fold))
    return found


async def existing(fake: FakeApi, name: str) -> str:
    raw = {"kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": {"nodeName": "n"}}
    return (await fake.put(PODS, raw))["metadata"]["uid"]


def pod(fake: FakeApi, name: str) -> Any:
    return fake.objects[PODS, "ns", name]


async def test_a_worker_is_created_with_all_its_pods(rig: Rig, fake: FakeApi):
    (outcome,) = await rig.executor.execute([CREATE])
    assert outcome.failure is None
    assert {name for _, _, name in fake.objects} == {"w-0-0", "w-0-1"}
    assert [raw["metadata"]["name"] for raw in rig.folded] == ["w-0-0", "w-0-1"]


async def test_a_worker_half_made_before_a_crash_is_completed(rig: Rig, fake: FakeApi):
    before = await existing(fake, "w-0-0")
    (outcome,) = await rig.executor.execute([CREATE])
    assert outcome.failure is None
    assert pod(fake, "w-0-0")["metadata"]["uid"] == before
    assert (PODS, "ns", "w-0-1") in fake.objects


async def test_a_drain_is_written_where_a_restart_finds_it(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "a")
    await rig.executor.execute([MarkDraining("a", uid, DRAIN, WHY)])
    note = json.loads(pod(fake, "a")["metadata"]["annotations"][labels.DRAIN_ANNOTATION])
    assert note == {"cause": "scale-down", "startedAt": 100.0, "deadline": 400.0}


async def test_an_idle_pod_loses_what_protects_it_and_a_busy_one_gets_it_back(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "a")
    await rig.executor.execute([ProtectPod("a", uid, protect=True, reason=WHY)])
    assert labels.KEEP_NODE.items() <= pod(fake, "a")["metadata"]["annotations"].items()
    await rig.executor.execute([ProtectPod("a", uid, protect=False, reason=WHY)])
    assert not labels.KEEP_NODE.keys() & pod(fake, "a")["metadata"]["annotations"].keys()


async def test_a_gate_that_closes_takes_ready_with_it_and_leaves_the_other_conditions(
    rig: Rig, fake: FakeApi
):
    uid = await existing(fake, "a")
    others = [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]
    pod(fake, "a")["status"] = {"conditions": others}
    await rig.executor.execute([SetServing("a", uid, serving=False, reason=WHY)])
    found = {c["type"]: (c["status"], c.get("reason")) for c in pod(fake, "a")["status"]["conditions"]}
    assert found == {
        "Ready": ("False", "ReadinessGatesNotReady"),
        "ContainersReady": ("True", None),
        labels.SERVING_GATE: ("False", "Test"),
    }


async def test_a_gate_that_opens_leaves_ready_to_the_kubelet(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "a")
    await rig.executor.execute([SetServing("a", uid, serving=True, reason=WHY)])
    (gate,) = pod(fake, "a")["status"]["conditions"]
    assert (gate["type"], gate["status"]) == (labels.SERVING_GATE, "True")


@pytest.mark.parametrize(
    "action",
    [
        MarkDraining("a", "another", DRAIN, WHY),
        SetServing("a", "another", serving=True, reason=WHY),
        DeletePod("a", "another", 0, WHY),
        ProtectPod("a", "another", protect=False, reason=WHY),
        RestartWorker("w", (("a", "another"),), WHY),
        DeletePod("gone", "any", None, WHY),
    ],
    ids=lambda action: f"{type(action).__name__} {getattr(action, 'pod', '')}",
)
async def test_a_write_meant_for_a_pod_that_is_another_by_now_does_nothing(
    rig: Rig, fake: FakeApi, action: Action
):
    await existing(fake, "a")
    before = json.dumps(pod(fake, "a"))
    (outcome,) = await rig.executor.execute([action])
    assert (outcome.moved_on, outcome.failure) == (True, None)
    assert json.dumps(pod(fake, "a")) == before


async def test_a_pod_that_is_being_deleted_is_known_to_be_so_at_once(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "a")
    await rig.executor.execute([DeletePod("a", uid, 30, WHY)])
    assert rig.folded[-1]["metadata"]["deletionTimestamp"]


async def test_nothing_is_written_once_the_lease_may_be_lost(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "a")
    rig.holder.holds = False
    for action in (CREATE, MarkDraining("a", uid, DRAIN, WHY), DeletePod("a", uid, 0, WHY)):
        with pytest.raises(Fenced):
            await rig.executor.execute([action])
    assert fake.writes() == []


async def test_a_worker_that_cannot_be_told_is_deleted_all_the_same(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "a")
    rig.broken.append("a")
    told, deleted = await rig.executor.execute(
        [AnnounceDrain("a", "127.0.0.1", DRAIN, 7.0, WHY), DeletePod("a", uid, 30, WHY)]
    )
    assert told.failure is not None
    assert told.failure.code == "AnnounceDrainFailed"
    assert "no answer" in told.failure.message
    assert deleted.failure is None
    assert "deletionTimestamp" in pod(fake, "a")["metadata"]


async def test_what_takes_long_on_one_pod_holds_up_no_other(rig: Rig, fake: FakeApi):
    uid = await existing(fake, "b")
    rig.waits_for_a_fold.append("a")
    outcomes = await rig.executor.execute(
        [AnnounceDrain("a", "127.0.0.1", DRAIN, 7.0, WHY), DeletePod("b", uid, 30, WHY)]
    )
    assert [outcome.failure for outcome in outcomes] == [None, None]


async def test_a_worker_that_the_endpoints_still_carry_is_not_told_to_refuse(rig: Rig, fake: FakeApi):
    first, second = await existing(fake, "a"), await existing(fake, "b")
    fake.failing.add("/api/v1/namespaces/ns/pods/a/status")
    outcomes = await rig.executor.execute(
        [
            SetServing("a", first, serving=False, reason=WHY),
            SetServing("b", second, serving=False, reason=WHY),
            AnnounceDrain("a", "127.0.0.1", DRAIN, 7.0, WHY),
            AnnounceDrain("b", "127.0.0.1", DRAIN, 7.0, WHY),
        ]
    )
    assert [outcome.failure is None for outcome in outcomes] == [False, True, True]
    assert rig.announced == ["b"]


def service(digest: str) -> dict[str, Any]:
    annotations = {labels.HASH_ANNOTATION: digest}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llama", "namespace": "ns", "annotations": annotations},
    }


async def test_objects_are_applied_only_where_they_differ(api: ApiServer, fake: FakeApi):
    fenced = FencedApi(api, Holder())
    problems, tried = await apply_objects(fenced, "ns", [service("1")], {})
    assert (problems, tried) == ((), {("Service", "llama"): "1"})
    writes = len(fake.writes())
    await apply_objects(fenced, "ns", [service("1")], tried)
    assert len(fake.writes()) == writes
    await apply_objects(fenced, "ns", [service("2")], tried)
    assert len(fake.writes()) == writes + 1


async def test_an_object_that_is_no_longer_rendered_is_deleted_and_one_of_the_users_is_not(
    api: ApiServer,
):
    fenced = FencedApi(api, Holder())
    await apply_objects(fenced, "ns", [service("1")], {})
    path = "/api/v1/namespaces/ns/services/llama"
    await apply_objects(fenced, "ns", [], {("Service", "llama"): ""})
    assert (await api.get(path))["metadata"]["name"] == "llama"
    problems, _ = await apply_objects(fenced, "ns", [], {("Service", "llama"): "1"})
    assert problems == ()
    with pytest.raises(ApiFailure):
        await api.get(path)
    assert await apply_objects(fenced, "ns", [], {("Service", "llama"): "1"}) == ((), {})
