"""Metadata services, each played by a real HTTP server that is as strict as the real one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from inferfleet_wire import MetadataProvider, MetadataSource, Notice, NoticeKind, Phase, State
from inferfleet_worker.notices import Watch, open_source

if TYPE_CHECKING:
    from tests.worker.conftest import RunningWorker

NOW = 1_800_000_000.0
Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The base URL of a server with one handler for everything."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def poll(
    provider: MetadataProvider, url: str, notice_seconds: float | None = None
) -> tuple[Notice, ...]:
    source = open_source(MetadataSource(provider, url, notice_seconds))
    async with aiohttp.ClientSession() as session:
        return await source.poll(session, NOW)


class Ec2:
    """IMDSv2: a token by PUT with a TTL, 401 without a valid one, 404 for what does not stand."""

    def __init__(self, **items: str) -> None:
        self.items = items
        self.tokens: list[str] = []
        self.revoked: set[str] = set()

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/latest/api/token":
            return self.issue(request)
        token = request.headers.get("X-aws-ec2-metadata-token")
        if token not in self.tokens or token in self.revoked:
            return web.Response(status=401)
        item = request.path.removeprefix("/latest/meta-data/")
        return web.Response(text=self.items[item]) if item in self.items else web.Response(status=404)

    def issue(self, request: web.Request) -> web.Response:
        if request.method != "PUT" or "X-Forwarded-For" in request.headers:
            return web.Response(status=403)
        if not 1 <= int(request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "0")) <= 21600:
            return web.Response(status=400)
        self.tokens.append(f"token-{len(self.tokens)}")
        return web.Response(text=self.tokens[-1])


SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
ENDS_AT = 1_800_000_120.0
SCHEDULED = "events/maintenance/scheduled"
LIFECYCLE = "autoscaling/target-lifecycle-state"
TERMINATE = '{"action": "terminate", "time": "2027-01-15T08:02:00Z"}'
ADVICE = '{"noticeTime": "2027-01-15T08:00:00Z"}'


def scheduled(state: str = "active") -> str:
    event = {
        "NotBefore": "15 Jan 2027 08:02:00 GMT",
        "Code": "instance-stop",
        "Description": "The instance is running on degraded hardware",
        "EventId": "instance-event-0d59",
        "NotAfter": "15 Jan 2027 10:00:00 GMT",
        "State": state,
    }
    return json.dumps([event])


STOP = Notice(NoticeKind.MAINTENANCE, ENDS_AT, "aws", "instance-stop instance-event-0d59", NOW)
ENDING = Notice(NoticeKind.INTERRUPTION, NOW + 120, "aws", "Auto Scaling ends the instance", NOW)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ({}, ()),
        ({SPOT: TERMINATE}, (Notice(NoticeKind.INTERRUPTION, ENDS_AT, "aws", "spot terminate", NOW),)),
        (
            {SPOT: '{"action": "stop"}'},
            (Notice(NoticeKind.INTERRUPTION, NOW + 120, "aws", "spot stop", NOW),),
        ),
        ({REBALANCE: ADVICE}, (Notice(NoticeKind.REBALANCE, None, "aws", "rebalance recommendation", NOW),)),
        (
            {SPOT: TERMINATE, REBALANCE: ADVICE},
            (Notice(NoticeKind.INTERRUPTION, ENDS_AT, "aws", "spot terminate", NOW),),
        ),
        ({SCHEDULED: "[]", LIFECYCLE: "InService"}, ()),
        ({SCHEDULED: scheduled()}, (STOP,)),
        ({SCHEDULED: scheduled("completed")}, ()),
        ({SCHEDULED: scheduled("canceled")}, ()),
        ({LIFECYCLE: "Terminated"}, (ENDING,)),
        ({LIFECYCLE: "Terminated", SCHEDULED: scheduled(), REBALANCE: ADVICE}, (ENDING, STOP)),
    ],
)
async def test_ec2_tells_of_every_end_it_knows_and_of_mere_advice_only_without_one(
    items: dict[str, str], expected: tuple[Notice, ...]
) -> None:
    async with serving(Ec2(**items).handle) as url:
        assert await poll(MetadataProvider.AWS, url) == expected


async def test_ec2_answers_nobody_without_a_token() -> None:
    async with serving(Ec2(**{SPOT: TERMINATE}).handle) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/latest/meta-data/{SPOT}") as answer:
            assert answer.status == 401
        async with session.get(f"{url}/latest/api/token") as answer:
            assert answer.status == 403


async def test_an_ec2_token_is_kept_and_renewed_when_it_is_no_longer_taken() -> None:
    ec2 = Ec2(**{SPOT: TERMINATE})
    async with serving(ec2.handle) as url, aiohttp.ClientSession() as session:
        source = open_source(MetadataSource(MetadataProvider.AWS, url))
        for _ in range(3):
            assert len(await source.poll(session, NOW)) == 1
        assert len(ec2.tokens) == 1
        ec2.revoked.update(ec2.tokens)
        assert len(await source.poll(session, NOW)) == 1
        assert len(ec2.tokens) == 2


def gce(preempted: str, maintenance: str) -> Handler:
    """403 without the header, as the real one; both values always stand."""

    async def handle(request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403)
        values = {"preempted": preempted, "maintenance-event": maintenance}
        item = request.path.removeprefix("/computeMetadata/v1/instance/")
        return web.Response(text=values[item]) if item in values else web.Response(status=404)

    return handle


@pytest.mark.parametrize(
    ("preempted", "maintenance", "notice_seconds", "expected"),
    [
        ("FALSE", "NONE", None, ()),
        ("FALSE", "MIGRATE_ON_HOST_MAINTENANCE", None, ()),
        ("TRUE", "NONE", None, (Notice(NoticeKind.INTERRUPTION, NOW + 15, "gcp", "preempted", NOW),)),
        ("TRUE", "NONE", 120.0, (Notice(NoticeKind.INTERRUPTION, NOW + 120, "gcp", "preempted", NOW),)),
        (
            "FALSE",
            "TERMINATE_ON_HOST_MAINTENANCE",
            None,
            (Notice(NoticeKind.MAINTENANCE, NOW + 3600, "gcp", "host maintenance", NOW),),
        ),
    ],
)
async def test_gce_tells_of_preemption_and_host_maintenance(
    preempted: str, maintenance: str, notice_seconds: float | None, expected: tuple[Notice, ...]
) -> None:
    async with serving(gce(preempted, maintenance)) as url:
        assert await poll(MetadataProvider.GCP, url, notice_seconds) == expected


def azure(*events: dict[str, Any]) -> Handler:
    """400 without the header or a version; lists the events of all machines of the scale set."""

    async def handle(request: web.Request) -> web.Response:
        if request.headers.get("Metadata", "").lower() != "true" or "api-version" not in request.query:
            return web.Response(status=400)
        if request.path == "/metadata/instance/compute/name":
            return web.Response(text="gpu_7")
        if request.path == "/metadata/scheduledevents":
            return web.json_response({"DocumentIncarnation": 3, "Events": list(events)})
        return web.Response(status=404)

    return handle


def event(kind: str, not_before: str, *machines: str) -> dict[str, Any]:
    return {
        "EventId": "602d9444",
        "EventStatus": "Scheduled" if not_before else "Started",
        "EventType": kind,
        "ResourceType": "VirtualMachine",
        "Resources": list(machines),
        "NotBefore": not_before,
    }


LATER = "Fri, 15 Jan 2027 08:02:00 GMT"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), ()),
        (
            (event("Preempt", LATER, "gpu_7"),),
            (Notice(NoticeKind.INTERRUPTION, ENDS_AT, "azure", "Preempt 602d9444", NOW),),
        ),
        (
            (event("Preempt", "", "gpu_6", "gpu_7"),),
            (Notice(NoticeKind.INTERRUPTION, NOW + 30, "azure", "Preempt 602d9444", NOW),),
        ),
        (
            (event("Redeploy", LATER, "gpu_7"),),
            (Notice(NoticeKind.MAINTENANCE, ENDS_AT, "azure", "Redeploy 602d9444", NOW),),
        ),
        ((event("Preempt", LATER, "gpu_6"),), ()),
        ((event("Freeze", LATER, "gpu_7"),), ()),
    ],
)
async def test_azure_tells_of_the_events_of_this_machine(
    events: tuple[dict[str, Any], ...], expected: tuple[Notice, ...]
) -> None:
    async with serving(azure(*events)) as url:
        assert await poll(MetadataProvider.AZURE, url) == expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, "not found", ()),
        (204, "", ()),
        (200, "\n", ()),
        (200, "{}", (Notice(NoticeKind.INTERRUPTION, NOW + 30, "url", "", NOW),)),
        (
            200,
            '{"kind": "maintenance", "deadline": 1800000120, "detail": "rack 4"}',
            (Notice(NoticeKind.MAINTENANCE, ENDS_AT, "url", "rack 4", NOW),),
        ),
        (200, '{"kind": "rebalance"}', (Notice(NoticeKind.REBALANCE, None, "url", "", NOW),)),
    ],
)
async def test_a_url_tells_what_stands_in_its_document(
    status: int, body: str, expected: tuple[Notice, ...]
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body or None)

    async with serving(handle) as url:
        assert await poll(MetadataProvider.URL, url) == expected


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        (MetadataProvider.AWS, "soon"),
        (MetadataProvider.AWS, "[]"),
        (MetadataProvider.AWS, '{"action": "terminate", "time": "noon"}'),
        (MetadataProvider.AZURE, "soon"),
        (MetadataProvider.AZURE, "{}"),
        (MetadataProvider.AZURE, '{"Events": [7]}'),
        (MetadataProvider.URL, "soon"),
        (MetadataProvider.URL, "[]"),
        (MetadataProvider.URL, '{"kind": "earthquake"}'),
        (MetadataProvider.URL, '{"deadline": "noon"}'),
    ],
)
async def test_an_answer_that_cannot_be_read_is_an_error_and_not_a_notice(
    provider: MetadataProvider, body: str
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=body)

    async with serving(handle) as url:
        with pytest.raises(ValueError, match=r".+"):
            await poll(provider, url)


@pytest.mark.parametrize("provider", MetadataProvider)
async def test_a_service_that_refuses_is_an_error_and_not_a_notice(provider: MetadataProvider) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=403)

    async with serving(handle) as url:
        with pytest.raises(aiohttp.ClientResponseError):
            await poll(provider, url)


def test_a_notice_keeps_its_first_sight_and_its_earliest_deadline() -> None:
    watch = Watch(lambda: NOW)
    for seen, deadline in ((100.0, 130.0), (101.0, 131.0), (102.0, 120.0)):
        watch.record(0, [Notice(NoticeKind.INTERRUPTION, deadline, "gcp", "preempted", seen)])
    assert watch.notices == (Notice(NoticeKind.INTERRUPTION, 120.0, "gcp", "preempted", 100.0),)


def test_a_notice_that_is_taken_back_no_longer_stands() -> None:
    watch = Watch(lambda: NOW)
    watch.record(0, [Notice(NoticeKind.INTERRUPTION, 130.0, "gcp", "preempted", 100.0)])
    watch.record(0, [])
    assert watch.notices == ()


def test_the_most_urgent_notice_stands_first() -> None:
    watch = Watch(lambda: NOW)
    advice = Notice(NoticeKind.REBALANCE, None, "aws", "", 1.0)
    soon = Notice(NoticeKind.INTERRUPTION, 100.0, "aws", "", 1.0)
    later = Notice(NoticeKind.MAINTENANCE, 200.0, "url", "", 1.0)
    watch.record(0, [advice, later])
    watch.record(1, [soon])
    assert watch.notices == (soon, later, advice)


async def state_when(worker: RunningWorker, condition: Callable[[State], object], eventually: Any) -> State:
    """Ask in a thread: the metadata server lives in this loop."""
    states: list[State] = []

    def holds() -> object:
        states.append(worker.state())
        return condition(states[-1])

    await asyncio.to_thread(eventually, holds)
    return states[-1]


async def test_advice_is_reported_and_an_interruption_that_nobody_answers_is_drained_for(
    run_worker: Any, eventually: Any
) -> None:
    announced: list[str] = []

    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=announced[-1]) if announced else web.Response(status=404)

    async with serving(handle) as url:
        source = MetadataSource(MetadataProvider.URL, url)
        worker = await asyncio.to_thread(
            lambda: run_worker(metadata=(source,), notice_poll_seconds=0.05, notice_grace_seconds=0.2)
        )
        announced.append('{"kind": "rebalance"}')
        advised = await state_when(worker, lambda state: state.notices, eventually)
        assert (advised.notices[0].kind, advised.phase) == (NoticeKind.REBALANCE, Phase.SERVING)
        deadline = time.time() + 100.0
        announced.append(json.dumps({"deadline": deadline}))
        drained = await state_when(worker, lambda state: state.phase is Phase.REFUSING, eventually)
        assert drained.drain is not None
        assert drained.drain.cause == "interruption"
        assert drained.drain.deadline == pytest.approx(deadline - worker.plan.margin_seconds)
        assert drained.drain.started_at >= drained.notices[0].seen_at + 0.2
