"""One deployment's status: read once, and written when it says something new."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from inferfleet.api import InferenceDeploymentStatus, status_from_plan
from inferfleet.cluster.client import TRANSIENT, ApiFailure
from inferfleet.cluster.events import Subject
from inferfleet.cluster.fence import FencedApi
from inferfleet.cluster.merge import merge_patch
from inferfleet.cluster.resources import DEPLOYMENTS
from inferfleet.shell.kinds import DeploymentRecord
from inferfleet.shell.views import Views
from inferfleet.values import Observed, Plan

log = logging.getLogger(__name__)

# Numbers that move with every sample are written no more often than this.
NUMBERS_EVERY_SECONDS: Final = 10.0


class StatusWriter:
    """Tells what was decided."""

    def __init__(self, api: FencedApi, views: Views, subject: Subject) -> None:
        self._api = api
        self._views = views
        self._subject = subject
        self._told = InferenceDeploymentStatus()
        self._told_at = 0.0

    def read(self, record: DeploymentRecord) -> InferenceDeploymentStatus:
        """What an earlier process wrote; from here on only what differs from it is news."""
        self._told = InferenceDeploymentStatus.model_validate(record.raw.get("status") or {})
        return self._told

    async def write(self, plan: Plan, observed: Observed, record: DeploymentRecord, now: float) -> None:
        """Write the status if it says something new; moving numbers alone can wait."""
        status = status_from_plan(plan, self._told, record.generation, now, observed=observed)
        if status == self._told:
            return
        waited = time.monotonic() - self._told_at
        if _steady(status) == _steady(self._told) and waited < NUMBERS_EVERY_SECONDS:
            return
        written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        body = {"metadata": {"uid": self._subject.uid}, "status": merge_patch(self._in_cluster(), written)}
        path = DEPLOYMENTS.path(self._subject.namespace, self._subject.name, "status")
        try:
            self._views.deployments.view.fold(await self._api.patch(path, body))
        except (ApiFailure, *TRANSIENT) as error:
            log.warning("status was not written: %s", error, extra={"deployment": record.key})
            return
        self._told, self._told_at = status, time.monotonic()

    def _in_cluster(self) -> Mapping[str, Any]:
        """The status as the API server has it."""
        record = self._views.deployment(self._subject.namespace, self._subject.name)
        return (record.raw.get("status") or {}) if record else {}


def _steady(status: InferenceDeploymentStatus) -> Mapping[str, Any]:
    """A status without the numbers that move with every sample."""
    conditions = [(c.type, c.status, c.reason, c.observed_generation) for c in status.conditions]
    scaling = (status.scaling.desired, status.scaling.reason, status.scaling.limited_by)
    moving = {"queue", "tokens_per_second", "cost", "pools", "rejected", "conditions", "scaling"}
    return {**status.model_dump(exclude=moving), "conditions": conditions, "scaling": scaling}
