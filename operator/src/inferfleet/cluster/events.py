"""Kubernetes Events about a deployment: equal ones become one Event with a count."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from inferfleet.cluster.client import TRANSIENT, ApiFailure
from inferfleet.cluster.fence import FencedApi
from inferfleet.cluster.resources import DEPLOYMENTS, EVENTS
from inferfleet.values import Event

log = logging.getLogger(__name__)

NOTE_LIMIT: Final = 1024
REMEMBERED: Final = 2048
CONTROLLER: Final = "inferfleet.dev/operator"


@dataclass(frozen=True, slots=True)
class Subject:
    """The InferenceDeployment that an Event is about."""

    namespace: str
    name: str
    uid: str


class EventWriter:
    """Writes Events. Their names are digests of what they say, so repeats meet also after a restart."""

    def __init__(self, api: FencedApi, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def write(self, subject: Subject, event: Event) -> None:
        """Write one Event; a failure is logged and forgotten, for an Event is never worth a pass."""
        name = _name(subject, event)
        try:
            if name in self._counts:
                await self._count(subject, name)
            else:
                await self._create(subject, name, event)
        except (ApiFailure, *TRANSIENT) as error:
            self._counts.pop(name, None)
            log.warning("event %s: %s", event.reason, error)

    async def _create(self, subject: Subject, name: str, event: Event) -> None:
        try:
            await self._api.create(EVENTS.path(subject.namespace), self._body(subject, name, event))
            self._remember(name, 1)
        except ApiFailure as failure:
            if failure.reason != "AlreadyExists":
                raise
            written = await self._api.reads.get(EVENTS.path(subject.namespace, name))
            self._remember(name, int((written.get("series") or {}).get("count", 1)))
            await self._count(subject, name)

    async def _count(self, subject: Subject, name: str) -> None:
        count = self._counts[name] + 1
        body = {"series": {"count": count, "lastObservedTime": _now()}}
        await self._api.patch(EVENTS.path(subject.namespace, name), body)
        self._remember(name, count)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def _body(self, subject: Subject, name: str, event: Event) -> dict[str, Any]:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": subject.namespace},
            "eventTime": _now(),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": event.reason.code[:128],
            "note": event.reason.message[:NOTE_LIMIT],
            "type": "Warning" if event.warning else "Normal",
            "regarding": {
                "apiVersion": DEPLOYMENTS.api_version,
                "kind": DEPLOYMENTS.kind,
                "name": subject.name,
                "namespace": subject.namespace,
                "uid": subject.uid,
            },
        }


def _name(subject: Subject, event: Event) -> str:
    said = f"{subject.uid}|{event.reason}|{event.warning}"
    return f"{subject.name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
