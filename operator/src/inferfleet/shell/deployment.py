"""One deployment's passes: gather, plan, execute, tell. The plan is `reconcile.plan`'s alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from inferfleet import reconcile
from inferfleet.api import InferenceDeployment, memory_from_status
from inferfleet.cluster.client import TRANSIENT
from inferfleet.cluster.events import EventWriter, Subject
from inferfleet.cluster.executor import Executor, Outcome, Seams, apply_objects
from inferfleet.cluster.fence import Fenced, FencedApi
from inferfleet.manifests import render_objects, render_worker
from inferfleet.shell.kinds import DeploymentRecord
from inferfleet.shell.model_source import ModelSource
from inferfleet.shell.reading import Reading, kept, parts_of, read
from inferfleet.shell.signals import Signals
from inferfleet.shell.status import StatusWriter
from inferfleet.shell.views import Views, Wakes
from inferfleet.telemetry.deployment_metrics import numbers_of
from inferfleet.telemetry.metrics import Metrics
from inferfleet.telemetry.workers import WorkerClient
from inferfleet.values import (
    AnnounceDrain,
    CreateWorker,
    Event,
    Memory,
    Observed,
    Plan,
    Reason,
)
from inferfleet_wire import drain_token

log = logging.getLogger(__name__)

# A burst of changes, such as the pods of a rollout becoming ready, is one pass.
COALESCE_SECONDS: Final = 0.05
AFTER_FAILURE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
# A failure that lasts is told again so often.
FAILURE_AGAIN_SECONDS: Final = 60.0
# Objects whose kinds are not watched (optional CRDs) are applied again so often.
REAPPLY_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all deployments of a process share."""

    api: FencedApi
    views: Views
    wakes: Wakes
    signals: Signals
    workers: WorkerClient
    events: EventWriter
    metrics: Metrics
    operator_image: str


class DeploymentLoop:
    """Looks after one InferenceDeployment (one uid) until it is gone or the process stops."""

    def __init__(self, surroundings: Surroundings, key: str, uid: str) -> None:
        namespace, name = key.split("/", 1)
        self._all = surroundings
        self._key = key
        self._subject = Subject(namespace, name, uid)
        self._flag = surroundings.wakes.of(key)
        self._model = ModelSource(
            surroundings.api, self._subject, self._flag.set, operator_image=surroundings.operator_image
        )
        self._memory: Memory | None = None
        self._status = StatusWriter(surroundings.api, surroundings.views, self._subject)
        self._applied: dict[tuple[str, str], str] = {}
        self._applied_at = 0.0
        self._failing: dict[Reason, float] = {}
        self._speaking: asyncio.Task[None] | None = None
        self._announcing: dict[str, asyncio.Task[None]] = {}
        self._unheard: list[Reason] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass. Returns when the deployment may go, is gone, or `stop` is set (which also wakes).

        `stop` ends the loop without a word to the cluster: the next process continues from the status.
        """
        pause = AFTER_FAILURE_SECONDS / 5
        loaded = False
        try:
            while not stop.is_set():
                self._flag.clear()
                try:
                    if not loaded:
                        await self._model.load()
                        loaded = True
                    next_look = await self._pass()
                    pause = AFTER_FAILURE_SECONDS / 5
                except Fenced as fenced:
                    log.warning("%s", fenced, extra={"deployment": self._key})
                    next_look = AFTER_FAILURE_SECONDS
                except Exception:
                    log.exception("pass failed", extra={"deployment": self._key})
                    self._all.metrics.pass_failures.inc()
                    next_look = pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                if next_look is None:
                    return
                await self._sleep(next_look)
        finally:
            self._model.close()
            for task in self._announcing.values():
                task.cancel()
            with suppress(Exception):
                await self._spoken()
            self._all.metrics.deployments.forget(self._subject.namespace, self._subject.name)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._flag.wait()
        except TimeoutError:
            return
        await asyncio.sleep(COALESCE_SECONDS)

    async def _pass(self) -> float | None:
        """One pass; seconds until the next one, None when the deployment may go."""
        record = self._all.views.deployment(self._subject.namespace, self._subject.name)
        if record is None or record.uid != self._subject.uid:
            return None
        now = time.time()
        with self._all.metrics.pass_seconds.time():
            reading = read(record, self._model.kept.spec, self._model.kept.good)
            observed = self._gather(reading, record, now)
            plan = reconcile.plan(observed, now)
        self._all.metrics.passes.inc()
        failures = await self._execute(plan, reading, record)
        self._memory = plan.memory
        self._all.metrics.deployments.show(self._subject.namespace, self._subject.name, numbers_of(plan))
        await self._spoken()
        told = (*failures, *self._all.signals.problems(record))
        events = (*plan.events, *self._news(told))
        self._speaking = asyncio.create_task(self._speak(events, plan, observed, record, now))
        if plan.finished:
            await self._spoken()
            return None
        return min(plan.next_look_seconds, AFTER_FAILURE_SECONDS if failures else LONGEST_PAUSE_SECONDS)

    async def _speak(
        self, events: Sequence[Event], plan: Plan, observed: Observed, record: DeploymentRecord, now: float
    ) -> None:
        """Write Events and status beside the next pass: what is to be done does not wait for what is said."""
        for event in events:
            log.info("%s", event.reason, extra={"deployment": self._key, "event": event.reason.code})
            if not self._all.views.is_going(self._subject.namespace):
                await self._all.events.write(self._subject, event)
        await self._status.write(plan, observed, record, now)

    async def _spoken(self) -> None:
        """Wait until what was to be said is out; raises what went wrong with it."""
        if self._speaking:
            task, self._speaking = self._speaking, None
            await task

    async def _announce(self, action: AnnounceDrain) -> None:
        """Begin to tell a worker that it drains: one that does not answer must not hold up the pass."""
        known = self._announcing.get(action.pod)
        if known is None or known.done():
            self._announcing[action.pod] = asyncio.create_task(self._try_to_announce(action))

    async def _try_to_announce(self, action: AnnounceDrain) -> None:
        try:
            await self._all.workers.announce(action, drain_token(self._subject.uid))
        except TRANSIENT as error:
            text = str(error) or type(error).__name__
            self._unheard.append(Reason("AnnounceDrainFailed", f"{action}: {text}"))

    def _news(self, failures: tuple[Reason, ...]) -> tuple[Event, ...]:
        """Failures as Events: one that lasts is told once, and again after a while."""
        now = time.monotonic()
        self._failing = {
            reason: self._failing.get(reason, 0.0)
            for reason in (*failures, *self._failing)
            if reason in failures or now - self._failing[reason] < FAILURE_AGAIN_SECONDS
        }
        due = [reason for reason in failures if now - self._failing[reason] >= FAILURE_AGAIN_SECONDS]
        self._failing |= dict.fromkeys(due, now)
        return tuple(Event(reason, warning=True) for reason in due)

    def _gather(self, reading: Reading, record: DeploymentRecord, now: float) -> Observed:
        views, spec = self._all.views, reading.spec
        if self._memory is None:
            self._memory = memory_from_status(self._status.read(record))
        seeking = reading.resource if spec.deleted_at is None else None
        model, model_problem = self._model.look(spec.model, seeking)
        return Observed(
            spec=spec,
            workers=views.workers(self._key),
            nodes=views.all_nodes(),
            claims=views.node_claims(),
            node_pools=views.node_pools(),
            node_events=views.events_of_nodes(),
            prices=views.prices(),
            pool_specs=views.pool_specs(),
            gpus_taken=views.gpus_taken(),
            samples=self._all.signals.samples(self._key),
            heard=self._all.signals.heard(self._key),
            model=model,
            model_problem=model_problem,
            spec_problem=reading.problem,
            spec_known=reading.resource is not None,
            undone=reading.undone,
            memory=self._memory,
            last_words=views.last_words(self._key),
            view_stale=views.problem(),
            wake=self._all.signals.wakes(record, now),
        )

    async def _execute(self, plan: Plan, reading: Reading, record: DeploymentRecord) -> tuple[Reason, ...]:
        """Carry out the plan; returns what failed."""
        resource = reading.resource

        def render(action: CreateWorker) -> list[dict[str, Any]]:
            source = (None if plan.renders_spec else kept(record, self._model.kept.spec)) or resource
            if source is None:
                raise ValueError("a worker was planned without a spec to render it from")
            return render_worker(source, action, operator_image=self._all.operator_image)

        seams = Seams(render, self._announce, self._all.views.pods.view.fold)
        outcomes = await Executor(self._all.api, self._subject.namespace, seams).execute(plan.actions)
        for outcome in outcomes:
            self._report(outcome)
        failures = (*self._unheard, *(outcome.failure for outcome in outcomes if outcome.failure))
        self._unheard.clear()
        if resource is None or reading.spec.deleted_at is not None or reading.spec.paused:
            return failures
        if reading.problem is None and plan.renders_spec:
            await self._model.keep_spec(resource)
            if plan.complete and reading.undone is None:
                await self._model.keep_good(parts_of(resource))
        return (*failures, *await self._apply(resource, plan))

    async def _apply(self, resource: InferenceDeployment, plan: Plan) -> tuple[Reason, ...]:
        """Apply the objects around the workers where they differ from what was rendered."""
        views = self._all.views
        if time.monotonic() - self._applied_at > REAPPLY_SECONDS:
            self._applied, self._applied_at = {}, time.monotonic()
        watched = {views.services.view.kind.resource.kind, views.budgets.view.kind.resource.kind}
        unwatched = {known: digest for known, digest in self._applied.items() if known[0] not in watched}
        present = {**unwatched, **views.objects(self._key)}
        manifests = render_objects(resource, layout=plan.layout, desired=plan.desired, leaving=plan.leaving)
        problems, self._applied = await apply_objects(
            self._all.api, self._subject.namespace, manifests, present
        )
        return problems

    def _report(self, outcome: Outcome) -> None:
        kind = type(outcome.action).__name__
        self._all.metrics.actions.labels(kind).inc()
        if outcome.failure:
            self._all.metrics.action_failures.labels(kind).inc()
        verb = "failed" if outcome.failure else "overtaken" if outcome.moved_on else "done"
        level = logging.WARNING if outcome.failure else logging.INFO
        log.log(level, "%s", outcome.action, extra={"deployment": self._key, "action": kind, "outcome": verb})
