"""What the operator relies on of an API server: true of the real one, and so of the fake."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from inferfleet.cluster.client import STRATEGIC_PATCH, ApiFailure, ApiServer
from inferfleet.cluster.resources import CONFIG_MAPS, PODS

NAMESPACE = "default"
COLLECTION = CONFIG_MAPS.path(NAMESPACE)
MANAGER = "inferfleet"


def config_map(name: str, data: dict[str, str] | None = None, **tags: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"contract": "yes", **tags}},
        "data": data or {},
    }


def pod(name: str) -> dict[str, Any]:
    """A pod that no scheduler looks at."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"contract": "yes"}},
        "spec": {
            "schedulerName": "nobody",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "engine", "image": "engine"}],
        },
    }


@pytest.fixture
async def api(server: Any):
    yield server.api
    for resource in (CONFIG_MAPS, PODS):
        found = await server.api.get(resource.path(NAMESPACE), {"labelSelector": "contract=yes"})
        for raw in found["items"]:
            await server.api.delete(resource.path(NAMESPACE, raw["metadata"]["name"]), grace_seconds=0)


async def failure_of(request: Any) -> tuple[int, str]:
    with pytest.raises(ApiFailure) as caught:
        await request
    return caught.value.status, caught.value.reason


async def test_a_name_can_be_taken_only_once(api: ApiServer):
    await api.create(COLLECTION, config_map("one"))
    assert await failure_of(api.create(COLLECTION, config_map("one"))) == (409, "AlreadyExists")


async def test_what_is_not_there_is_not_found(api: ApiServer):
    path = CONFIG_MAPS.path(NAMESPACE, "nothing")
    assert await failure_of(api.get(path)) == (404, "NotFound")
    assert await failure_of(api.delete(path)) == (404, "NotFound")
    assert await failure_of(api.patch(path, {"data": {}})) == (404, "NotFound")


async def test_a_delete_meant_for_another_object_of_that_name_is_refused(api: ApiServer):
    made = await api.create(COLLECTION, config_map("one"))
    path = CONFIG_MAPS.path(NAMESPACE, "one")
    assert await failure_of(api.delete(path, uid="somebody-else")) == (409, "Conflict")
    await api.delete(path, uid=made["metadata"]["uid"])
    assert await failure_of(api.get(path)) == (404, "NotFound")


async def test_a_patch_meant_for_another_object_of_that_name_is_refused(api: ApiServer):
    made = await api.create(COLLECTION, config_map("one"))
    path = CONFIG_MAPS.path(NAMESPACE, "one")
    foreign = {"metadata": {"uid": "somebody-else", "annotations": {"a": "1"}}}
    with pytest.raises(ApiFailure) as caught:
        await api.patch(path, foreign)
    assert caught.value.moved_on
    ours = {"metadata": {"uid": made["metadata"]["uid"], "annotations": {"a": "1"}}}
    assert (await api.patch(path, ours))["metadata"]["annotations"] == {"a": "1"}


async def test_replacing_an_outdated_version_is_refused(api: ApiServer):
    made = await api.create(COLLECTION, config_map("one"))
    path = CONFIG_MAPS.path(NAMESPACE, "one")
    await api.replace(path, {**made, "data": {"a": "1"}})
    assert await failure_of(api.replace(path, {**made, "data": {"a": "2"}})) == (409, "Conflict")


async def test_applying_the_same_again_changes_nothing(api: ApiServer):
    path = CONFIG_MAPS.path(NAMESPACE, "one")
    first = await api.apply(path, config_map("one", {"a": "1"}), field_manager=MANAGER)
    second = await api.apply(path, config_map("one", {"a": "1"}), field_manager=MANAGER)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_applying_takes_back_only_ones_own_fields(api: ApiServer):
    path = CONFIG_MAPS.path(NAMESPACE, "one")
    await api.apply(path, config_map("one", {"mine": "1", "also-mine": "2"}), field_manager=MANAGER)
    await api.patch(path, {"data": {"theirs": "3"}}, query={"fieldManager": "somebody"})
    after = await api.apply(path, config_map("one", {"mine": "1"}), field_manager=MANAGER)
    assert after["data"] == {"mine": "1", "theirs": "3"}


async def test_a_long_list_comes_in_pages(api: ApiServer):
    for number in range(5):
        await api.create(COLLECTION, config_map(f"page-{number}"))
    names, query = [], {"labelSelector": "contract=yes", "limit": "2"}
    for _ in range(3):
        page = await api.get(COLLECTION, query)
        names += [raw["metadata"]["name"] for raw in page["items"]]
        query["continue"] = page["metadata"].get("continue", "")
    assert names == [f"page-{number}" for number in range(5)]
    assert not query["continue"]


async def test_label_selectors_choose_and_exclude(api: ApiServer):
    await api.create(COLLECTION, config_map("ours", owner="us"))
    await api.create(COLLECTION, config_map("theirs", owner="them"))

    async def names(selector: str) -> list[str]:
        found = await api.get(COLLECTION, {"labelSelector": f"contract=yes,{selector}"})
        return [raw["metadata"]["name"] for raw in found["items"]]

    assert await names("owner=us") == ["ours"]
    assert await names("owner!=us") == ["theirs"]


async def test_a_watch_tells_what_happened_since_a_list(api: ApiServer):
    before = await api.get(COLLECTION, {"labelSelector": "contract=yes"})
    path = CONFIG_MAPS.path(NAMESPACE, "one")
    await api.create(COLLECTION, config_map("one"))
    await api.patch(path, {"data": {"a": "1"}})
    await api.delete(path)
    seen, versions = [], []
    query = {"labelSelector": "contract=yes", "resourceVersion": before["metadata"]["resourceVersion"]}
    async with asyncio.timeout(10):
        async for line in api.watch(COLLECTION, query):
            event = json.loads(line)
            if event["type"] == "BOOKMARK":
                continue
            seen.append((event["type"], event["object"]["metadata"]["name"]))
            versions.append(int(event["object"]["metadata"]["resourceVersion"]))
            if event["type"] == "DELETED":
                break
    assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]
    assert versions == sorted(set(versions))


async def test_conditions_of_a_pod_are_merged_by_type(api: ApiServer):
    await api.create(PODS.path(NAMESPACE), pod("gated"))
    path = PODS.path(NAMESPACE, "gated", "status")
    for kind, status in (("inferfleet.dev/serving", "True"), ("Other", "True"), ("Other", "False")):
        condition = {"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        raw = await api.patch(path, {"status": {"conditions": [condition]}}, kind=STRATEGIC_PATCH)
    found = {condition["type"]: condition["status"] for condition in raw["status"]["conditions"]}
    assert found == {"inferfleet.dev/serving": "True", "Other": "False"}


async def test_a_pod_without_a_node_is_gone_as_soon_as_it_is_deleted(api: ApiServer):
    made = await api.create(PODS.path(NAMESPACE), pod("waiting"))
    path = PODS.path(NAMESPACE, "waiting")
    await api.delete(path, uid=made["metadata"]["uid"])
    assert await failure_of(api.get(path)) == (404, "NotFound")
