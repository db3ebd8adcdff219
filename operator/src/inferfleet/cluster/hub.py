"""Reading a model's config and size from a model hub, without its weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from inferfleet.values import ModelSpec, Reason

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
TIMEOUT_SECONDS: Final = 20.0
INDEX_FILE: Final = "model.safetensors.index.json"
SINGLE_FILE: Final = "model.safetensors"
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE = 200, 401, 403, 404, 410
# The hub answers a HEAD of a large file with a redirect that carries its size.
LINKED_SIZE: Final = "X-Linked-Size"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What planning needs of a model: its config, the bytes of its weights, and its tensors where known.

    `tensors` are (data type, shape) by name.
    """

    config: Mapping[str, Any]
    weight_bytes: int | None
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)


class ModelProblem(Exception):  # noqa: N818 - becomes a condition, with what to change
    """The model cannot be read. `passing` is True where trying again may help."""

    def __init__(self, code: str, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.reason = Reason(code, message)
        self.passing = passing


def endpoint() -> str:
    """The hub to ask: HF_ENDPOINT, as all of its clients understand it."""
    return os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")


async def read_from_hub(
    session: aiohttp.ClientSession, hub: str, model: ModelSpec, token: str | None
) -> ModelFiles:
    """Fetch `config.json` and the size of the weights; raises ModelProblem."""
    base = f"{hub}/{quote(model.id)}/resolve/{quote(model.revision or 'main', safe='')}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        status, body, _ = await _fetch(session, "GET", f"{base}/config.json", headers)
        _raise_unless_found(status, model, hub)
        try:
            config = json.loads(body)
        except ValueError as error:
            raise ModelProblem(
                "ModelConfigInvalid", f"config.json of {model.id} is not JSON: {error}"
            ) from error
        return ModelFiles(config, await _weight_bytes(session, base, headers))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        text = str(error) or type(error).__name__
        advice = "check the network, or set HF_ENDPOINT to a mirror, or mount the model as pvc://"
        raise ModelProblem(
            "ModelUnreachable", f"{hub} cannot be reached ({text}): {advice}", passing=True
        ) from error


def _raise_unless_found(status: int, model: ModelSpec, hub: str) -> None:
    if status == OK:
        return
    if status in {UNAUTHORIZED, FORBIDDEN}:
        advice = "accept its licence, set spec.model.tokenSecret to a token that may read it, or check the id"
        raise ModelProblem("ModelAccessDenied", f"{hub} does not give {model.id} to us: {advice}")
    if status in {NOT_FOUND, GONE}:
        what = f"{model.id} at revision {model.revision or 'main'}"
        raise ModelProblem("ModelNotFound", f"{hub} has no config.json of {what}: check spec.model.id")
    raise ModelProblem("ModelUnreachable", f"{hub} answered {status} for {model.id}", passing=True)


async def _weight_bytes(session: aiohttp.ClientSession, base: str, headers: Mapping[str, str]) -> int | None:
    """Bytes of all tensors from the index, or the size of the only file; None where the hub has neither."""
    status, body, _ = await _fetch(session, "GET", f"{base}/{INDEX_FILE}", headers)
    if status == OK:
        try:
            return int(json.loads(body)["metadata"]["total_size"])
        except (ValueError, KeyError, TypeError):
            return None
    status, _, answer = await _fetch(session, "HEAD", f"{base}/{SINGLE_FILE}", headers)
    size = answer.get(LINKED_SIZE) or answer.get("Content-Length")
    return int(size) if status < 400 and size else None  # noqa: PLR2004 - HTTP's own boundary


@retry(
    retry=retry_if_exception_type((aiohttp.ClientError, TimeoutError, OSError)),
    wait=wait_random_exponential(multiplier=0.5, max=5),
    stop=stop_after_attempt(3),
    reraise=True,
)
async def _fetch(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str]
) -> tuple[int, bytes, Mapping[str, str]]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    follow = method == "GET"
    async with session.request(
        method, url, headers=headers, timeout=timeout, allow_redirects=follow
    ) as answer:
        if answer.status >= 500:  # noqa: PLR2004 - HTTP's own boundary
            answer.raise_for_status()
        return answer.status, await answer.read(), answer.headers
