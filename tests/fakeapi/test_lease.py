"""Two replicas, one lease: never both, whatever the clocks, crashes and network do."""

from __future__ import annotations

import asyncio

import pytest
from fake_api import FakeApi, configuration, fake_api
from hypothesis import given, settings
from hypothesis import strategies as st

from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.lease import Lease, LeaseLost, Terms


class Clock:
    """Time that is walked by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def contender(api: ApiServer, name: str, clock: Clock) -> Lease:
    return Lease(api, namespace="ns", name="operator", identity=name, clock=clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_the_first_one_leads_and_the_second_waits(api: ApiServer, clock: Clock):
    first, second = contender(api, "a", clock), contender(api, "b", clock)
    assert await first.attempt()
    assert not await second.attempt()
    assert (first.holds, second.holds) == (True, False)


async def test_a_leader_that_fell_silent_stops_before_another_may_begin(api: ApiServer, clock: Clock):
    first, second = contender(api, "a", clock), contender(api, "b", clock)
    await first.attempt()
    await second.attempt()
    clock.now += 10.0
    assert not first.holds
    assert not await second.attempt()
    clock.now += 4.9
    assert not await second.attempt()
    clock.now += 0.2
    assert await second.attempt()
    assert (first.holds, second.holds) == (False, True)


async def test_a_leader_that_comes_back_finds_itself_replaced(api: ApiServer, clock: Clock):
    first, second = contender(api, "a", clock), contender(api, "b", clock)
    await first.attempt()
    await second.attempt()
    clock.now += 15.1
    await second.attempt()
    assert not await first.attempt()
    assert not first.holds


async def test_a_lease_given_back_is_free_at_once(api: ApiServer, clock: Clock):
    first, second = contender(api, "a", clock), contender(api, "b", clock)
    await first.attempt()
    await first.release()
    assert not first.holds
    assert await second.attempt()


async def test_a_restarted_container_takes_its_own_lease_back_at_once(api: ApiServer, clock: Clock):
    await contender(api, "pod-1", clock).attempt()
    assert await contender(api, "pod-1", clock).attempt()


async def test_the_record_is_one_that_others_read(api: ApiServer, fake: FakeApi, clock: Clock):
    await contender(api, "a", clock).attempt()
    (raw,) = fake.objects.values()
    assert raw["spec"]["holderIdentity"] == "a"
    assert raw["spec"]["leaseDurationSeconds"] == 15
    assert raw["spec"]["renewTime"].endswith("Z")


async def test_a_lease_that_cannot_be_renewed_ends_the_process(fake: FakeApi):
    terms = Terms(duration_seconds=0.3, renew_seconds=0.2, retry_seconds=0.02)
    async with ApiServer(configuration(fake)) as api:
        lease = Lease(api, namespace="ns", name="operator", identity="a", terms=terms)
        await lease.acquire()
        thief = await api.get("/apis/coordination.k8s.io/v1/namespaces/ns/leases/operator")
        thief["spec"]["holderIdentity"] = "b"
        await api.replace("/apis/coordination.k8s.io/v1/namespaces/ns/leases/operator", thief)
        async with asyncio.timeout(5):
            with pytest.raises(LeaseLost):
                await lease.keep()


steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([0.0, 0.5, 2.0, 5.0, 9.9, 15.0, 16.0])),
    max_size=30,
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_never_do_two_hold_whatever_the_order_and_the_pauses(walk: list[tuple[str, float]]):
    async def play() -> None:
        clock = Clock()
        async with fake_api() as fake, ApiServer(configuration(fake)) as api:
            contenders = {name: contender(api, name, clock) for name in "abc"}
            for name, pause in walk:
                clock.now += pause
                await contenders[name].attempt()
                assert sum(lease.holds for lease in contenders.values()) <= 1

    asyncio.run(play())
