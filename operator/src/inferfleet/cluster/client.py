"""Talking to the API server: JSON in, JSON out, through the asynchronous client's transport alone.

The generated models are never imported (about 80 MiB): requests name paths, answers stay JSON until they are
projected.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

READ_TIMEOUT_SECONDS: Final = 30.0
# A write must be over before another replica may take the lease: see `lease.py`.
WRITE_TIMEOUT_SECONDS: Final = 5.0
WATCH_SILENCE_SECONDS: Final = 90.0

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410
INVALID: Final = 422

MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

TRANSIENT: Final = (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError)


class ApiFailure(Exception):  # noqa: N818 - the API server's answer, often an expected fact
    """An error that the API server answered; `reason` is its word for machines, such as AlreadyExists."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def moved_on(self) -> bool:
        """True where the object is gone, is there already, or is another one of the same name by now.

        A patch that names the UID it means is answered with 422 when the name means another one.
        """
        another = self.status == INVALID and "metadata.uid" in self.message
        return another or self.status in {NOT_FOUND, CONFLICT}

    @classmethod
    def from_body(cls, status: int, body: bytes) -> Self:
        """Read the Status object that the API server sends with an error, or what a proxy sent instead."""
        try:
            answer = json.loads(body)
            return cls(status, str(answer.get("reason", "")), str(answer.get("message", "")))
        except (ValueError, AttributeError):
            return cls(status, "", body[:200].decode(errors="replace"))


class ApiServer:
    """One connection pool to one API server."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = "inferfleet"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read an object or a list."""
        return await self._json("GET", path, query=query, timeout_seconds=READ_TIMEOUT_SECONDS)

    async def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Read something that is not JSON, such as a log."""
        response = await self._send(
            "GET", path, query=query, timeout=aiohttp.ClientTimeout(total=READ_TIMEOUT_SECONDS)
        )
        async with response:
            body = await response.read()
            if response.status >= 400:  # noqa: PLR2004 - HTTP's own boundary
                raise ApiFailure.from_body(response.status, body)
            return body.decode(errors="replace")

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in the collection at `path`; 409 where the name is taken."""
        return await self._json("POST", path, body=body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object; 409 where its `resourceVersion` has moved on."""
        return await self._json("PUT", path, body=body)

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        kind: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Patch an object; `kind` is the patch's media type."""
        return await self._json("PATCH", path, body=body, query=query, content_type=kind)

    async def apply(self, path: str, body: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        """Server-side apply: the operator's own fields are taken over, everybody else's are left alone."""
        query = {"fieldManager": field_manager, "force": "true"}
        return await self.patch(path, body, kind=APPLY_PATCH, query=query)

    async def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> dict[str, Any]:
        """Delete an object if it still is the one with `uid`; 409 where the name means another by now."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        return await self._json("DELETE", path, body=body)

    async def watch(
        self, path: str, query: Mapping[str, str], *, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[bytes]:
        """Yield the raw lines of a watch until the server ends it; TimeoutError when it falls silent.

        `opened` is called once the server has agreed to tell all since the version that was asked for.

        The server sends a bookmark about every minute, so silence means a dead connection.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=WATCH_SILENCE_SECONDS)
        response = await self._send("GET", path, query={**query, "watch": "true"}, timeout=timeout)
        async with response:
            if response.status >= 400:  # noqa: PLR2004 - HTTP's own boundary
                raise ApiFailure.from_body(response.status, await response.read())
            opened()
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield line

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        response = await self._send(
            method, path, query=query, body=body, content_type=content_type, timeout=timeout
        )
        async with response:
            data = await response.read()
            if response.status >= 400:  # noqa: PLR2004 - HTTP's own boundary
                raise ApiFailure.from_body(response.status, data)
            answer: dict[str, Any] = json.loads(data)
            return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own timeouts tell connect from read
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        _, url, headers, _, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response


async def load_configuration(kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """How to reach the API server: a named kubeconfig, the pod's service account, the user's kubeconfig."""
    configuration = Configuration()
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    if kubeconfig is None and context is None and in_pod and "KUBECONFIG" not in os.environ:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        path = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path, context=context, client_configuration=configuration, persist_config=False
        )
    configuration.retries = None  # what a failure means is decided here, never repeated below
    return configuration
