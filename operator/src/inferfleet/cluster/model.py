"""Where a model's facts come from, and the ConfigMap that keeps them.

What was read once is kept beside the deployment, with the last spec that made sense: neither a restart of the
operator nor an outage of the hub may take a running deployment its plan.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from inferfleet.cluster.client import NOT_FOUND, ApiFailure, ApiServer
from inferfleet.cluster.events import Subject
from inferfleet.cluster.fence import FencedApi
from inferfleet.cluster.hub import ModelFiles, ModelProblem, endpoint, read_from_hub
from inferfleet.cluster.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS
from inferfleet.values import ModelSpec, PodPhase, labels

INSPECTION_SECONDS: Final = 300.0
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ConfigMap of a deployment holds. `good` are parts of specs that worked, the newest first."""

    source: str = ""
    files: ModelFiles | None = None
    spec: Mapping[str, Any] | None = None
    good: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key of a Secret in the deployment's namespace."""

    name: str
    key: str


def fingerprint(model: ModelSpec) -> str:
    """What the kept files belong to: a changed id or revision makes them void."""
    return hashlib.sha256(f"{model.id}@{model.revision or ''}".encode()).hexdigest()[:16]


def is_on_hub(model: ModelSpec) -> bool:
    """True for a hub id; False for `pvc://` and paths, which only a pod can read."""
    return not model.id.startswith(("pvc://", "/"))


class ModelStore:
    """Reads and writes the ConfigMap `<name>-model`."""

    def __init__(self, api: FencedApi) -> None:
        self._api = api

    async def load(self, subject: Subject) -> Kept:
        """What is kept for a deployment; empty where nothing is, or nothing that can be understood."""
        try:
            found = await self._api.reads.get(CONFIG_MAPS.path(subject.namespace, _name(subject)))
        except ApiFailure as failure:
            if failure.status == NOT_FOUND:
                return Kept()
            raise
        owners = found["metadata"].get("ownerReferences", ())
        if not any(owner["uid"] == subject.uid for owner in owners):
            return Kept()
        data = found.get("data", {})
        try:
            return Kept(
                source=data.get("source", ""),
                files=_decode(json.loads(data["model.json"])) if "model.json" in data else None,
                spec=json.loads(data["spec.json"]) if "spec.json" in data else None,
                good=tuple(json.loads(data.get("good.json", "[]"))),
            )
        except (ValueError, KeyError, TypeError):
            return Kept()

    async def save(self, subject: Subject, kept: Kept) -> None:
        """Keep this, owned by the deployment, so that it goes with it."""
        data = {"source": kept.source}
        if kept.files:
            data["model.json"] = json.dumps(_encode(kept.files), sort_keys=True)
        if kept.spec is not None:
            data["spec.json"] = json.dumps(kept.spec, sort_keys=True)
        if kept.good:
            data["good.json"] = json.dumps(kept.good, sort_keys=True)
        owner = {
            "apiVersion": DEPLOYMENTS.api_version,
            "kind": DEPLOYMENTS.kind,
            "name": subject.name,
            "uid": subject.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        manifest = {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": {
                "name": _name(subject),
                "namespace": subject.namespace,
                "labels": {labels.MANAGED_BY: labels.FIELD_MANAGER, labels.DEPLOYMENT: subject.name},
                "ownerReferences": [owner],
            },
            "data": data,
        }
        await self._api.apply(CONFIG_MAPS.path(subject.namespace, _name(subject)), manifest)


async def fetch_from_hub(
    api: ApiServer, namespace: str, model: ModelSpec, token_secret: SecretKey | None
) -> ModelFiles:
    """Read a hub model with the deployment's own token, else the operator's; raises ModelProblem."""
    token = await _token(api, namespace, token_secret) if token_secret else os.environ.get("HF_TOKEN")
    async with aiohttp.ClientSession(trust_env=True) as session:
        return await read_from_hub(session, endpoint(), model, token)


async def inspect_in_pod(api: FencedApi, namespace: str, pod: Mapping[str, Any]) -> ModelFiles:
    """Read a mounted model with a short-lived pod, whose log is the report; raises ModelProblem.

    The pod is deleted in any case, and one that a crash left behind is used.
    """
    name = pod["metadata"]["name"]
    path = PODS.path(namespace, name)
    try:
        try:
            made = await api.create(PODS.path(namespace), pod)
        except ApiFailure as failure:
            if failure.reason != "AlreadyExists":
                raise ModelProblem(
                    "ModelInspectionFailed", f"pod {name}: {failure.message}", passing=True
                ) from failure
            made = await api.reads.get(path)
        await _wait_for_end(api.reads, path)
        log = await api.reads.text(f"{path}/log", {"tailLines": "1"})
    except TimeoutError as error:
        raise ModelProblem(
            "ModelInspectionFailed",
            f"pod {name} did not end within {INSPECTION_SECONDS:.0f} s: kubectl describe it",
            passing=True,
        ) from error
    await api.delete(path, uid=made["metadata"]["uid"], grace_seconds=0)
    return read_report(log)


def read_report(log: str) -> ModelFiles:
    """The last line of an inspection pod's log, as `worker.pyz inspect` prints it; raises ModelProblem."""
    try:
        report = json.loads(log.strip().splitlines()[-1])
        if "error" in report:
            # a volume may still be filled, so it is worth another look soon
            raise ModelProblem("ModelNotFound", f"{report['error']}: check spec.model.id", passing=True)
        return ModelFiles(
            config=report["config"],
            weight_bytes=report.get("weights_bytes"),
            tensors={
                name: (dtype, tuple(shape))
                for name, (dtype, shape, *_) in (report.get("tensors") or {}).items()
            },
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelProblem(
            "ModelInspectionFailed", f"the inspection pod said {log.strip()[-200:]!r}", passing=True
        ) from error


async def _wait_for_end(api: ApiServer, path: str) -> None:
    async with asyncio.timeout(INSPECTION_SECONDS):
        while True:
            pod = await api.get(path)
            if pod["status"].get("phase") in {PodPhase.SUCCEEDED, PodPhase.FAILED}:
                return
            await asyncio.sleep(POLL_SECONDS)


async def _token(api: ApiServer, namespace: str, secret: SecretKey) -> str:
    try:
        found = await api.get(SECRETS.path(namespace, secret.name))
        return base64.b64decode(found["data"][secret.key]).decode().strip()
    except (ApiFailure, KeyError, ValueError) as error:
        raise ModelProblem(
            "TokenSecretInvalid",
            f"spec.model.tokenSecret: no readable key {secret.key} in Secret {secret.name}",
            passing=True,
        ) from error


def _name(subject: Subject) -> str:
    return f"{subject.name}-model"


def _encode(files: ModelFiles) -> dict[str, Any]:
    return {
        "config": files.config,
        "weightBytes": files.weight_bytes,
        "tensors": {name: [dtype, list(shape)] for name, (dtype, shape) in files.tensors.items()},
    }


def _decode(kept: Mapping[str, Any]) -> ModelFiles:
    tensors = {name: (dtype, tuple(shape)) for name, (dtype, shape) in kept.get("tensors", {}).items()}
    return ModelFiles(kept["config"], kept["weightBytes"], tensors)
