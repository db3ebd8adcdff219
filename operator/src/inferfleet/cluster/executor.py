"""Carrying out a plan's actions, and telling what failed from what the world had done already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from inferfleet.cluster.client import NOT_FOUND, STRATEGIC_PATCH, TRANSIENT, ApiFailure
from inferfleet.cluster.fence import FencedApi
from inferfleet.cluster.project import write_drain
from inferfleet.cluster.resources import PODS, resource_of, resource_of_kind
from inferfleet.values import (
    Action,
    AnnounceDrain,
    CreateWorker,
    DeletePod,
    MarkDraining,
    ProtectPod,
    Reason,
    RestartWorker,
    SetServing,
    labels,
)

log = logging.getLogger(__name__)

CONCURRENCY: Final = 8

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action: done, overtaken by the world, or failed with a reason worth telling."""

    action: Action
    failure: Reason | None = None
    moved_on: bool = False


@dataclass(frozen=True, slots=True)
class Seams:
    """What the executor needs of others.

    `render` makes the pods of a new worker; `announce` tells a worker that it drains; `fold` takes the API
    server's answer into the pod view, so that the next pass sees this one's writes.
    """

    render: Callable[[CreateWorker], Sequence[Manifest]]
    announce: Callable[[AnnounceDrain], Awaitable[None]]
    fold: Callable[[Manifest], None]


class Executor:
    """Executes actions in one namespace."""

    def __init__(self, api: FencedApi, namespace: str, seams: Seams) -> None:
        self._api = api
        self._namespace = namespace
        self._seams = seams
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def execute(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
        """Execute the actions on one pod or worker in order; what one waits for holds up no other.

        After a write that failed the later actions on the same pod wait for the next pass: a worker must not
        refuse what the endpoints still send it. One that cannot be told of its drain is deleted all the same.

        Raises:
            Fenced: when the lease may have been lost; nothing further was written.
        """
        chains: dict[str, list[Action]] = {}
        for action in actions:
            chains.setdefault(_subject(action), []).append(action)
        done = await asyncio.gather(*map(self._in_turn, chains.values()))
        return tuple(outcome for outcomes in done for outcome in outcomes)

    async def _in_turn(self, actions: Sequence[Action]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for action in actions:
            outcomes.append(await self._attempt(action))
            if outcomes[-1].failure and not isinstance(action, AnnounceDrain):
                break
        return outcomes

    async def _attempt(self, action: Action) -> Outcome:
        async with self._slots:
            try:
                await self._perform(action)
            except ApiFailure as failure:
                if failure.moved_on:
                    log.debug("moved on: %s: %s", action, failure)
                    return Outcome(action, moved_on=True)
                return Outcome(
                    action, Reason(f"{type(action).__name__}Failed", f"{action}: {failure.message}")
                )
            except TRANSIENT as error:
                text = str(error) or type(error).__name__
                return Outcome(action, Reason(f"{type(action).__name__}Failed", f"{action}: {text}"))
            return Outcome(action)

    async def _perform(self, action: Action) -> None:
        match action:
            case CreateWorker():
                for pod in self._seams.render(action):
                    await self._create(pod)
            case SetServing():
                await self._set_serving(action)
            case MarkDraining():
                note = {labels.DRAIN_ANNOTATION: write_drain(action.drain)}
                body = {"metadata": {"uid": action.uid, "annotations": note}}
                self._seams.fold(await self._api.patch(PODS.path(self._namespace, action.pod), body))
            case AnnounceDrain():
                await self._seams.announce(action)
            case DeletePod():
                await self._delete(action.pod, action.uid, action.grace_seconds)
            case ProtectPod():
                notes = {name: text if action.protect else None for name, text in labels.KEEP_NODE.items()}
                body = {"metadata": {"uid": action.uid, "annotations": notes}}
                self._seams.fold(await self._api.patch(PODS.path(self._namespace, action.pod), body))
            case RestartWorker():
                for name, uid in action.pods:
                    await self._delete(name, uid, None)
            case _:
                assert_never(action)

    async def _create(self, pod: Manifest) -> None:
        """Create one pod of a worker; one that a crash left behind keeps its place."""
        try:
            self._seams.fold(await self._api.create(PODS.path(self._namespace), pod))
        except ApiFailure as failure:
            if failure.reason != "AlreadyExists":
                raise

    async def _set_serving(self, action: SetServing) -> None:
        """Set the readiness gate; when it closes, say at once what follows from it.

        Ready is the kubelet's to compute, and the endpoints wait for it: without that word of ours a dead
        machine keeps its endpoints, and a busy one keeps them for as long as its kubelet takes. A kubelet
        that lives sees a message that is not its own, and computes the same.
        """
        gate = _condition(labels.SERVING_GATE, action.serving, action.reason)
        closed = Reason("ReadinessGatesNotReady", f"{labels.SERVING_GATE} is not True")
        conditions = [gate] if action.serving else [gate, _condition("Ready", action.serving, closed)]
        body = {"metadata": {"uid": action.uid}, "status": {"conditions": conditions}}
        path = PODS.path(self._namespace, action.pod, "status")
        self._seams.fold(await self._api.patch(path, body, kind=STRATEGIC_PATCH))

    async def _delete(self, pod: str, uid: str, grace_seconds: int | None) -> None:
        path = PODS.path(self._namespace, pod)
        answer = await self._api.delete(path, uid=uid, grace_seconds=grace_seconds)
        if answer.get("kind") == PODS.kind and answer["metadata"].get("deletionTimestamp"):
            self._seams.fold(answer)


async def apply_objects(
    api: FencedApi, namespace: str, manifests: Sequence[Manifest], present: Mapping[tuple[str, str], str]
) -> tuple[tuple[Reason, ...], dict[tuple[str, str], str]]:
    """Apply the objects around the workers whose digest differs from what is `present` by (kind, name).

    What is present with a digest of ours and no longer rendered is deleted.

    Returns what could not be applied, such as an object whose CRD is not installed, and the digests that were
    tried: an object that failed is not tried again before it changes or is due again.
    """
    problems: list[Reason] = []
    tried: dict[tuple[str, str], str] = {}
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        digest = manifest["metadata"]["annotations"][labels.HASH_ANNOTATION]
        tried[kind, name] = digest
        if present.get((kind, name)) == digest:
            continue
        try:
            await api.apply(resource_of(manifest).path(namespace, name), manifest)
        except ApiFailure as failure:
            advice = ": install its CRD, or switch it off in spec" if failure.status == NOT_FOUND else ""
            problems.append(Reason(f"{kind}NotApplied", f"{kind} {name}: {failure.message}{advice}"))
        except TRANSIENT as error:
            problems.append(
                Reason(f"{kind}NotApplied", f"{kind} {name}: {str(error) or type(error).__name__}")
            )
            del tried[kind, name]
    rendered = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for kind, name in sorted(present.keys() - rendered):
        if not present[kind, name]:
            continue  # not of our making
        try:
            await api.delete(resource_of_kind(kind).path(namespace, name))
        except (ApiFailure, *TRANSIENT) as error:
            if not isinstance(error, ApiFailure) or error.status != NOT_FOUND:
                problems.append(Reason(f"{kind}NotDeleted", f"{kind} {name}: {error}"))
    return tuple(problems), tried


def _condition(kind: str, holds: bool, reason: Reason) -> dict[str, str]:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason.code,
        "message": reason.message,
        "lastTransitionTime": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _subject(action: Action) -> str:
    """The pod or worker that an action is about."""
    match action:
        case CreateWorker() | RestartWorker():
            return action.worker
        case SetServing() | MarkDraining() | AnnounceDrain() | DeletePod() | ProtectPod():
            return action.pod
        case _:
            assert_never(action)
