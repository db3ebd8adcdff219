"""PID 1: starts the engine, watches over it, ends with it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from inferfleet_wire import ENV_POD_IP, DrainRequest, LaunchPlan, State, WireError, authorization
from inferfleet_worker import engine
from inferfleet_worker.accounts import Accounts
from inferfleet_worker.course import Step
from inferfleet_worker.ledger import Control
from inferfleet_worker.notices import Watch, open_source
from inferfleet_worker.side import listen, side_app
from inferfleet_worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

QUIET_SECONDS = 0.25
BUSY_SECONDS = 0.05
"""How often the worker looks at the clock while nothing drains, and while something does."""

LOADING_SECONDS = 1.0
HEALTH_SECONDS = 5.0
"""How often the engine's health is asked for while it loads, and once it answers."""

LEADER_SECONDS = 1.0
HEALTH_TIMEOUT_SECONDS = 5.0
CANNOT_START = 127
PASSED_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


def supervise(plan: LaunchPlan, env: Mapping[str, str]) -> int:
    """Run the engine of `plan` to its end; its exit code, 128 + signal where a signal ended it."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    run_dir = Path(tempfile.mkdtemp(prefix="inferfleet-", dir=shared))
    try:
        return asyncio.run(_Supervisor(plan, env, run_dir).run())
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


class _Supervisor:
    """The tasks around one engine."""

    def __init__(self, plan: LaunchPlan, env: Mapping[str, str], run_dir: Path) -> None:
        version = engine.engine_version(engine.engine_python(plan.command))
        self._plan = plan
        self._engine = engine.arrange(plan, version, env.get(ENV_POD_IP, ""))
        self._env = engine.environment(plan, env, run_dir)
        self._wake = asyncio.Event()
        self._exit_code: int | None = None
        self._worker = Worker(
            plan,
            accounts=Accounts(run_dir),
            control=Control(run_dir, create=True),
            watch=Watch(time.time),
            instance=f"{socket.gethostname()}-{time.time_ns()}",
            engine_version=version,
            shutdown_seconds=self._engine.shutdown_seconds,
            clock=time.time,
        )

    async def run(self) -> int:
        """From the first listening socket to the engine's last breath."""
        runner = web.AppRunner(side_app(self._worker, self._wake.set), access_log=None, handle_signals=False)
        await runner.setup()
        await web.SockSite(runner, listen(self._plan.side_port)).start()
        self._take_signals()
        log.info("engine: %s", " ".join(self._engine.argv))
        try:
            self._worker.engine_pid = engine.start(self._engine, self._env)
        except OSError as error:
            log.error("the engine cannot be started: %s: %s", self._engine.argv[0], error)  # noqa: TRY400
            return CANNOT_START
        tasks = [
            asyncio.create_task(task)
            for task in (self._follow_health(), self._watch(), self._follow_leader())
        ]
        for task in tasks:
            task.add_done_callback(_report)
        code = await self._tend()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leave_last_state()
        await runner.cleanup()
        return code

    def _take_signals(self) -> None:
        """The engine's children and orphans are ours to collect; SIGTERM and Ctrl-C begin the drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._collect)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate, number)
        for number in PASSED_ON:
            loop.add_signal_handler(number, self._pass_on, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})

    def _collect(self) -> None:
        code = engine.reap(self._worker.engine_pid)
        if code is not None:
            self._exit_code = code
        self._wake.set()

    def _terminate(self, number: int) -> None:
        log.info("%s: draining", signal.Signals(number).name)
        self._worker.terminate()
        self._wake.set()

    def _pass_on(self, number: int) -> None:
        engine.send_signal(self._worker.engine_pid, number)

    async def _tend(self) -> int:
        """Let time take effect until the engine has ended; its exit code."""
        done = Step.WAIT
        while self._exit_code is None:
            step = self._worker.advance()
            if step.value > done.value:
                self._act(step, done)
                done = step
            pause = BUSY_SECONDS if self._worker.draining else QUIET_SECONDS
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except asyncio.TimeoutError:
                continue
            self._wake.clear()
        log.info("the engine ended with %s", self._exit_code)
        return self._exit_code

    def _act(self, step: Step, done: Step) -> None:
        """A step may be reached at once, over those before it: the engine is asked before it is killed."""
        in_flight = self._worker.totals().in_flight.requests
        log.info("stop: %s with %d requests in flight", step.name.lower(), in_flight)
        if done is Step.WAIT:
            engine.send_signal(self._worker.engine_pid, signal.SIGTERM)
        if step is Step.KILL:
            engine.send_signal(self._worker.engine_pid, signal.SIGKILL, group=True)

    async def _watch(self) -> None:
        sources = [open_source(settings) for settings in self._plan.metadata]
        await self._worker.watch.run(sources, self._plan.notice_poll_seconds)

    async def _follow_health(self) -> None:
        """Keep the engine's health up to date; a pod without an API server is well while its process runs."""
        if not self._plan.serves:
            self._worker.report_health("")
            return
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                problem = await _health_problem(session, self._engine.health_url)
                self._worker.report_health(problem)
                await asyncio.sleep(LOADING_SECONDS if problem else HEALTH_SECONDS)

    async def _follow_leader(self) -> None:
        """Drain with the pod that serves for this one: the replica is one, and so is its drain."""
        if self._plan.serves or not self._plan.leader_url:
            return
        self._worker.leader_in_flight = 1
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.sleep(LEADER_SECONDS)
                if self._worker.drain is None:
                    continue
                request = DrainRequest(
                    self._worker.drain.cause, self._worker.drain.deadline, self._plan.settle_seconds
                )
                self._worker.leader_in_flight = await _leader_in_flight(session, self._plan, request)

    async def _leave_last_state(self) -> None:
        """End what is left of the engine's group, and write down the counts for whoever comes after."""
        engine.send_signal(self._worker.engine_pid, signal.SIGKILL, group=True)
        for _ in range(20):
            if self._worker.totals().gates == 0:
                break
            await asyncio.sleep(BUSY_SECONDS)
        self._worker.report_health("the engine has ended")
        last = self._worker.state().to_json()
        log.info("last state: %s", last)
        _write_if_there(Path(self._plan.termination_log), last)


def _write_if_there(path: Path, text: str) -> None:
    """The kubelet makes the file; outside a pod there is none."""
    if path.exists():
        path.write_text(text)


def _report(task: asyncio.Task[None]) -> None:
    """A task beside the engine that fails must not do so silently."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s failed", task.get_coro(), exc_info=error)


async def _health_problem(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url) as answer:
            return "" if answer.status == 200 else f"the engine's health check answers {answer.status}"  # noqa: PLR2004
    except aiohttp.ClientConnectorError:
        return "the engine does not listen yet"
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return f"the engine's health check fails: {type(error).__name__}"


async def _leader_in_flight(session: aiohttp.ClientSession, plan: LaunchPlan, request: DrainRequest) -> int:
    """What the leader works on, at least 1 until it is drained; one that is gone holds nobody up."""
    try:
        headers = authorization(plan.drain_token)
        async with session.post(
            f"{plan.leader_url}/drain", data=request.to_json(), headers=headers
        ) as answer:
            state = State.from_json(await answer.read())
    except (aiohttp.ClientError, asyncio.TimeoutError, WireError):
        return 0
    return 0 if state.drained else max(1, state.in_flight.requests)
