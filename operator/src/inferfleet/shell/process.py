"""The operator's process: stand by, lead, and leave without a trace of two leaders."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Final

from kubernetes.aio.client.configuration import Configuration

from inferfleet.cluster.client import ApiServer, load_configuration
from inferfleet.cluster.events import EventWriter
from inferfleet.cluster.fence import FencedApi
from inferfleet.cluster.lease import Lease, LeaseLost
from inferfleet.shell import framework
from inferfleet.shell.deployment import DeploymentLoop, Surroundings
from inferfleet.shell.health import HealthServer
from inferfleet.shell.kinds import EVERYONE
from inferfleet.shell.pools import tell_pools
from inferfleet.shell.settings import Settings
from inferfleet.shell.signals import Signals
from inferfleet.shell.views import Views, Wakes
from inferfleet.telemetry.metrics import Metrics
from inferfleet.telemetry.workers import WorkerClient

log = logging.getLogger(__name__)

LOST: Final = 1
CRASHED: Final = 2
# What has not ended by then is cut off: the fence lets nothing through, but a successor should not wait.
LAST_WORDS_SECONDS: Final = 3.0


def run(settings: Settings) -> int:
    """Run until a signal, or until the lease is lost; returns the process's exit code."""
    return asyncio.run(_operate(settings))


async def _operate(settings: Settings) -> int:
    stop = asyncio.Event()
    framework.on_signals(stop)
    configuration = await load_configuration(settings.kubeconfig, settings.context)
    metrics, wakes = Metrics(), Wakes()
    # the lease has connections of its own: a burst of work must not cost it
    async with ApiServer(configuration) as api, ApiServer(configuration) as own:
        lease = Lease(
            own, namespace=settings.lease_namespace, name=settings.lease_name, identity=settings.identity
        )
        views = Views(api, wakes, settings.namespaces, settings.lease_namespace)

        def refresh() -> None:
            metrics.lease_held.set(lease.holds)
            for name, view in views.named():
                if view.synced.is_set():
                    metrics.view_age_seconds.labels(name).set(view.age_seconds)

        async with HealthServer(settings.port, metrics, refresh) as health:
            health.not_ready = lambda: None
            log.info("standing by", extra={"identity": settings.identity})
            if not await _unless(stop, lease.acquire()):
                return 0
            try:
                return await _lead(settings, configuration, api, lease, views, wakes, metrics, health, stop)
            finally:
                await lease.release()


async def _lead(  # noqa: PLR0917 - the composition root hands everything on once
    settings: Settings,
    configuration: Configuration,
    api: ApiServer,
    lease: Lease,
    views: Views,
    wakes: Wakes,
    metrics: Metrics,
    health: HealthServer,
    stop: asyncio.Event,
) -> int:
    health.not_ready = lambda: problem.message if (problem := views.problem()) else None
    fenced = FencedApi(api, lease)
    async with WorkerClient() as workers:
        signals = Signals.choose(settings, views, wakes, workers, metrics)
        surroundings = Surroundings(
            fenced,
            views,
            wakes,
            signals,
            workers,
            EventWriter(fenced, settings.identity),
            metrics,
            settings.operator_image,
        )

        async def look_after(key: str, uid: str) -> None:
            await DeploymentLoop(surroundings, key, uid).run(stop)

        async def work() -> None:
            await views.synced()
            log.info("leading", extra={"identity": settings.identity})
            await framework.run(settings, configuration, look_after, stop)

        return await _until_over(
            stop,
            wakes,
            work=work(),
            lease=lease.keep(),
            views=views.run(),
            signals=signals.run(),
            pools=tell_pools(fenced, views, wakes),
        )


async def _until_over(stop: asyncio.Event, wakes: Wakes, **parts: Awaitable[Any]) -> int:
    """Run all parts until a signal or until one of them ends, which none should; returns the exit code."""
    tasks = {name: asyncio.ensure_future(part) for name, part in parts.items()}
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({*tasks.values(), stopping}, return_when=asyncio.FIRST_COMPLETED)
    code = _verdict(stop, tasks)
    stop.set()
    wakes.wake(EVERYONE)
    await asyncio.wait({tasks["work"]}, timeout=LAST_WORDS_SECONDS)
    rest = [stopping, *tasks.values()]
    for task in rest:
        task.cancel()
    _, stuck = await asyncio.wait(rest, timeout=LAST_WORDS_SECONDS)
    if code or stuck:
        logging.shutdown()
        os._exit(code or CRASHED)
    return code


def _verdict(stop: asyncio.Event, tasks: Mapping[str, asyncio.Future[Any]]) -> int:
    """Why it is over: 0 for a signal, LOST without the lease, CRASHED for what must not happen."""
    for name, task in tasks.items():
        if not task.done() or task.cancelled():
            continue
        error = task.exception()
        if isinstance(error, LeaseLost):
            log.error("%s: leaving at once", error)
            return LOST
        if error is not None:
            log.error("%s ended", name, exc_info=error)
            return CRASHED
    return 0 if stop.is_set() or tasks["work"].done() else CRASHED


async def _unless(stop: asyncio.Event, awaitable: Awaitable[None]) -> bool:
    """Await something unless `stop` is set first; True when it came to an end."""
    wanted, stopping = asyncio.ensure_future(awaitable), asyncio.ensure_future(stop.wait())
    await asyncio.wait({wanted, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (wanted, stopping):
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    if stop.is_set() and wanted.cancelled():
        return False
    await wanted
    return True
