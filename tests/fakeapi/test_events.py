"""Events: what was said before is counted, not repeated."""

from __future__ import annotations

import pytest
from fake_api import FakeApi

from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.events import EventWriter, Subject
from inferfleet.cluster.fence import FencedApi
from inferfleet.values import Event, Reason

LLAMA = Subject("ns", "llama", "uid-of-llama")
SCALED = Event(Reason("ScaledUp", "queue of 12 over 2 replicas: 2 to 3"))


class Holder:
    holds = True


@pytest.fixture
def fenced(api: ApiServer) -> FencedApi:
    return FencedApi(api, Holder())


async def test_an_event_says_what_about_whom_and_by_whom(fenced: FencedApi, fake: FakeApi):
    await EventWriter(fenced, "pod-1").write(LLAMA, Event(SCALED.reason, warning=True))
    (raw,) = fake.objects.values()
    assert (raw["reason"], raw["note"], raw["type"]) == ("ScaledUp", SCALED.reason.message, "Warning")
    assert raw["regarding"]["uid"] == "uid-of-llama"
    assert raw["reportingInstance"] == "pod-1"


async def test_the_same_word_again_is_counted_also_after_a_restart(fenced: FencedApi, fake: FakeApi):
    writer = EventWriter(fenced, "pod-1")
    await writer.write(LLAMA, SCALED)
    await writer.write(LLAMA, SCALED)
    await EventWriter(fenced, "pod-2").write(LLAMA, SCALED)
    (raw,) = fake.objects.values()
    assert raw["series"]["count"] == 3


async def test_other_words_are_other_events(fenced: FencedApi, fake: FakeApi):
    writer = EventWriter(fenced, "pod-1")
    await writer.write(LLAMA, SCALED)
    await writer.write(LLAMA, Event(Reason("ScaledUp", "queue of 20 over 3 replicas: 3 to 5")))
    assert len(fake.objects) == 2


async def test_a_long_message_is_cut_to_what_the_api_takes(fenced: FencedApi, fake: FakeApi):
    await EventWriter(fenced, "pod-1").write(LLAMA, Event(Reason("Long", "x" * 5000)))
    (raw,) = fake.objects.values()
    assert len(raw["note"]) == 1024
