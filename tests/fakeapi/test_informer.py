"""Informers against the fake API server: what a view holds after the world has done its worst."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fake_api import FakeApi
from tenacity import wait_random_exponential

from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.informer import Informer, Kind
from inferfleet.cluster.resources import CORE_EVENTS, PODS

COLLECTION = "/api/v1/pods"
AT_ONCE = wait_random_exponential(multiplier=0.001, max=0.01)


def pod(name: str, value: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "labels": {"value": value}}}


def value_of(raw: Any) -> str:
    return raw["metadata"]["labels"]["value"]


KIND = Kind(
    PODS,
    project=lambda raw: None if value_of(raw) == "ignored" else value_of(raw),
    concerns=lambda before, after: [f"{before}>{after}"],
    group=lambda value: value[:1],
)


class Watched:
    """An informer at work, and a way to wait for what its view should come to hold."""

    def __init__(self, api: ApiServer, kind: Kind[str] = KIND, **seconds: float) -> None:
        self.woken: list[str] = []
        self._changed = asyncio.Event()
        self.informer = Informer(
            api, kind, self._wake, backoff=AT_ONCE, **{"absent_seconds": 0.01, **seconds}
        )

    def _wake(self, key: str) -> None:
        self.woken.append(key)
        self._changed.set()

    def held(self) -> dict[str, str]:
        return {name: value for (_, name), value in self.informer.view.items.items()}

    async def until(self, wanted: dict[str, str]) -> None:
        async with asyncio.timeout(10):
            while self.held() != wanted:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def watched(api: ApiServer) -> AsyncIterator[Watched]:
    found = Watched(api)
    task = asyncio.create_task(found.informer.run())
    yield found
    task.cancel()
    await asyncio.wait([task])


async def test_a_view_is_not_to_be_trusted_before_its_first_list(api: ApiServer):
    view = Informer(api, KIND, lambda _key: None).view
    assert not view.synced.is_set()
    assert "not been listed" in (view.problem or "")


async def test_a_view_follows_the_world(fake: FakeApi, watched: Watched):
    await fake.put(COLLECTION, pod("a", "1"))
    await watched.until({"a": "1"})
    assert watched.informer.view.synced.is_set()
    assert watched.informer.view.problem is None
    await fake.put(COLLECTION, pod("b", "2"))
    await watched.until({"a": "1", "b": "2"})
    await fake.put(COLLECTION, pod("a", "3"))
    await watched.until({"a": "3", "b": "2"})
    await fake.drop(COLLECTION, "ns", "b")
    await watched.until({"a": "3"})
    assert watched.woken == ["None>1", "None>2", "1>3", "2>None"]


async def test_a_change_that_the_projection_does_not_see_wakes_nobody(fake: FakeApi, watched: Watched):
    await fake.put(COLLECTION, pod("a", "1"))
    await watched.until({"a": "1"})
    noisy = pod("a", "1")
    noisy["status"] = {"heartbeat": "now"}
    await fake.put(COLLECTION, noisy)
    await fake.put(COLLECTION, pod("b", "2"))
    await watched.until({"a": "1", "b": "2"})
    assert watched.woken == ["None>1", "None>2"]


async def test_what_is_no_longer_of_interest_is_dropped(fake: FakeApi, watched: Watched):
    await fake.put(COLLECTION, pod("a", "1"))
    await watched.until({"a": "1"})
    await fake.put(COLLECTION, pod("a", "ignored"))
    await watched.until({})


async def test_a_list_after_lost_history_drops_what_went_meanwhile(fake: FakeApi, watched: Watched):
    for name in ("stays", "goes"):
        await fake.put(COLLECTION, pod(name, "1"))
    await watched.until({"stays": "1", "goes": "1"})
    await fake.drop(COLLECTION, "ns", "goes", silently=True)
    fake.compact()
    fake.cut_watches()
    await watched.until({"stays": "1"})
    assert watched.woken[-1] == "1>None"


async def test_a_watch_that_breaks_is_taken_up_where_it_was(fake: FakeApi, watched: Watched):
    await fake.put(COLLECTION, pod("a", "1"))
    await watched.until({"a": "1"})
    fake.cut_watches()
    await fake.put(COLLECTION, pod("b", "2"))
    await watched.until({"a": "1", "b": "2"})
    assert fake.lists == 1, "a broken watch needs no new list"


async def test_a_watch_that_nobody_speaks_on_is_opened_anew_without_a_word(
    fake: FakeApi, api: ApiServer, caplog: pytest.LogCaptureFixture
):
    watched = Watched(api, replace(KIND, resource=CORE_EVENTS), watch_seconds=0.05)
    task = asyncio.create_task(watched.informer.run())
    await fake.until_watched(3)
    await fake.put("/api/v1/events", pod("a", "1"))
    await watched.until({"a": "1"})
    task.cancel()
    await asyncio.wait([task])
    assert (fake.lists, caplog.messages) == (1, [])


async def test_the_answer_to_a_write_is_seen_at_once_and_once(fake: FakeApi, watched: Watched):
    await fake.put(COLLECTION, pod("a", "1"))
    await watched.until({"a": "1"})
    view = watched.informer.view
    newer = {**pod("a", "2"), "metadata": {**pod("a", "2")["metadata"], "resourceVersion": "9000"}}
    view.fold(newer)
    assert watched.held() == {"a": "2"}
    older = {**pod("a", "1"), "metadata": {**pod("a", "1")["metadata"], "resourceVersion": "200"}}
    view.fold(older)
    assert watched.held() == {"a": "2"}


async def test_an_answer_that_comes_after_the_deletion_makes_no_phantom(fake: FakeApi, watched: Watched):
    written = await fake.put(COLLECTION, pod("a", "1"))
    await watched.until({"a": "1"})
    answer = {**written, "metadata": dict(written["metadata"])}
    await fake.drop(COLLECTION, "ns", "a")
    await watched.until({})
    watched.informer.view.fold(answer)
    assert watched.held() == {}


async def test_values_are_found_by_their_group(fake: FakeApi, watched: Watched):
    for name, value in (("a", "x1"), ("b", "x2"), ("c", "y1")):
        await fake.put(COLLECTION, pod(name, value))
    await watched.until({"a": "x1", "b": "x2", "c": "y1"})
    view = watched.informer.view
    assert sorted(view.of("x")) == ["x1", "x2"]
    await fake.put(COLLECTION, pod("a", "y2"))
    await watched.until({"a": "y2", "b": "x2", "c": "y1"})
    assert (sorted(view.of("x")), sorted(view.of("y")), view.of("z")) == (["x2"], ["y1", "y2"], ())


async def test_a_kind_that_is_not_served_is_empty_until_it_is_and_again_when_it_is_no_longer(
    fake: FakeApi, api: ApiServer
):
    fake.unserved.add(COLLECTION)
    watched = Watched(api, replace(KIND, optional=True))
    task = asyncio.create_task(watched.informer.run())
    await watched.informer.view.synced.wait()
    assert watched.held() == {}
    assert watched.informer.view.problem is None
    await fake.put(COLLECTION, pod("a", "1"))
    fake.unserved.clear()
    await watched.until({"a": "1"})
    fake.unserved.add(COLLECTION)
    fake.cut_watches()
    await watched.until({})
    task.cancel()
    await asyncio.wait([task])


async def test_a_view_of_one_namespace_holds_that_one_only(fake: FakeApi, api: ApiServer):
    elsewhere = pod("b", "2")
    elsewhere["metadata"]["namespace"] = "other"
    await fake.put(COLLECTION, pod("a", "1"))
    await fake.put(COLLECTION, elsewhere)
    watched = Watched(api, replace(KIND, namespace="other"))
    task = asyncio.create_task(watched.informer.run())
    await watched.until({"b": "2"})
    task.cancel()
    await asyncio.wait([task])
