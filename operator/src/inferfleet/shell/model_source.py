"""The model of one deployment: from the catalogue, what was kept, the hub, or a mounted folder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from inferfleet.api import InferenceDeployment
from inferfleet.cluster.client import TRANSIENT, ApiFailure
from inferfleet.cluster.events import Subject
from inferfleet.cluster.fence import Fenced, FencedApi
from inferfleet.cluster.hub import ModelFiles, ModelProblem
from inferfleet.cluster.model import (
    Kept,
    ModelStore,
    SecretKey,
    fetch_from_hub,
    fingerprint,
    inspect_in_pod,
    is_on_hub,
)
from inferfleet.manifests import render_inspection_pod
from inferfleet.planning import ModelFactsError, Tensor, catalogue_facts, model_facts
from inferfleet.values import ModelFacts, ModelSpec, Reason

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 10.0
LAST_RETRY_SECONDS: Final = 300.0
GOOD_KEPT: Final = 2


class ModelSource:
    """Answers at once with what is known, and finds out the rest in the background."""

    def __init__(
        self, api: FencedApi, subject: Subject, wake: Callable[[], None], *, operator_image: str
    ) -> None:
        self.kept = Kept()
        self._api = api
        self._store = ModelStore(api)
        self._subject = subject
        self._wake = wake
        self._operator_image = operator_image
        self._facts: tuple[str, ModelFacts] | None = None
        self._problem: tuple[str, Reason] | None = None
        self._task: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._pause = FIRST_RETRY_SECONDS

    async def load(self) -> None:
        """Read what an earlier process kept."""
        self.kept = await self._store.load(self._subject)

    def close(self) -> None:
        """Stop finding out."""
        if self._task:
            self._task.cancel()

    def look(
        self, model: ModelSpec, deployment: InferenceDeployment | None
    ) -> tuple[ModelFacts | None, Reason | None]:
        """The facts, or why there are none (yet). Without a `deployment` only what is known is used."""
        source = fingerprint(model)
        if self._facts and self._facts[0] == source:
            return self._facts[1], None
        listed = catalogue_facts(model.id) if model.revision is None else None
        if listed:
            self._facts = (source, listed)
            return listed, None
        if self.kept.files and self.kept.source == source:
            self._conclude(source, model, self.kept.files)
        elif deployment is not None:
            self._find_out(source, model, deployment)
        if self._facts and self._facts[0] == source:
            return self._facts[1], None
        if self._problem and self._problem[0] == source:
            return None, self._problem[1]
        return None, None

    async def keep_spec(self, deployment: InferenceDeployment) -> None:
        """Keep a spec that made sense, for the day when one does not."""
        spec = deployment.model_dump(mode="json", by_alias=True, exclude_unset=True)["spec"]
        if self.kept.spec != spec:
            await self._save(replace(self.kept, spec=spec))

    async def keep_good(self, parts: Mapping[str, Any]) -> None:
        """Keep what a whole fleet runs and serves with, and what did so before it: there is a way back."""
        if self.kept.good[:1] != (parts,):
            others = (known for known in self.kept.good if known != parts)
            await self._save(replace(self.kept, good=(parts, *others)[:GOOD_KEPT]))

    def _find_out(self, source: str, model: ModelSpec, deployment: InferenceDeployment) -> None:
        if self._task and not self._task.done():
            return
        if self._problem and self._problem[0] == source and time.monotonic() < self._retry_at:
            return
        self._task = asyncio.create_task(self._resolve(source, model, deployment))

    async def _resolve(self, source: str, model: ModelSpec, deployment: InferenceDeployment) -> None:
        try:
            files = await self._read(model, deployment)
            await self._save(replace(self.kept, source=source, files=files))
            self._conclude(source, model, files)
        except ModelProblem as problem:
            self._fail(source, problem.reason, passing=problem.passing)
        except (ApiFailure, Fenced, *TRANSIENT) as error:
            self._fail(source, Reason("ModelUnreachable", str(error) or type(error).__name__), passing=True)
        finally:
            self._wake()

    async def _read(self, model: ModelSpec, deployment: InferenceDeployment) -> ModelFiles:
        if is_on_hub(model):
            secret = deployment.spec.model.token_secret
            key = SecretKey(secret.name, secret.key) if secret else None
            return await fetch_from_hub(self._api.reads, self._subject.namespace, model, key)
        pod = render_inspection_pod(deployment, operator_image=self._operator_image)
        return await inspect_in_pod(self._api, self._subject.namespace, pod)

    def _conclude(self, source: str, model: ModelSpec, files: ModelFiles) -> None:
        try:
            tensors = {name: Tensor(dtype, shape) for name, (dtype, shape) in files.tensors.items()}
            facts = model_facts(files.config, files.weight_bytes, model_id=model.id, tensors=tensors or None)
        except ModelFactsError as error:
            self._fail(source, Reason(error.code, error.message), passing=False)
        else:
            self._facts, self._problem, self._pause = (source, facts), None, FIRST_RETRY_SECONDS

    def _fail(self, source: str, reason: Reason, *, passing: bool) -> None:
        log.warning("model of %s: %s", self._subject.name, reason)
        self._problem = (source, reason)
        self._retry_at = time.monotonic() + (self._pause if passing else LAST_RETRY_SECONDS)
        self._pause = min(2 * self._pause, LAST_RETRY_SECONDS)

    async def _save(self, kept: Kept) -> None:
        self.kept = kept
        try:
            await self._store.save(self._subject, kept)
        except (ApiFailure, *TRANSIENT) as error:
            log.warning("what is known of %s was not kept: %s", self._subject.name, error)
