"""The gate: ASGI middleware inside vLLM's own API server (`--middleware inferfleet_worker.gate.Gate`).

It passes every message on as it is, in order and at once; it only counts, adds `Connection: close` while the
worker drains, and answers new work itself once the worker refuses. Probes and metrics always pass.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

from inferfleet_wire import ENV_RUN_DIR, ENV_SPREAD_ABOVE, Phase
from inferfleet_worker.ledger import Control, Ledger, Word

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WORK_PREFIXES = (
    "/v1/",
    "/v2/",
    "/cohere/",
    "/inference/",
    "/invocations",
    "/classify",
    "/generative_scoring",
    "/pooling",
    "/rerank",
    "/score",
)
"""Routes of vLLM whose POSTs (and WebSockets) cost the engine work; everything else is probing or control."""

RETRY_AFTER_SECONDS = 1
"""Another replica can answer at once; a second keeps a client without one from spinning."""

CLOSE = (b"connection", b"close")
STREAMED_ERROR = b'data: {"error"'
"""How vLLM ends a stream that fails after its headers were sent: the status cannot say it any more."""

SERVER_ERROR = 500
UNAVAILABLE = 503
INTERNAL_CLOSE = 1011
REFUSAL = json.dumps(
    {
        "error": {
            "message": "This replica is draining and takes no new requests; send it again.",
            "type": "ServiceUnavailableError",
            "param": None,
            "code": UNAVAILABLE,
        }
    }
).encode()


class Gate:
    """Counts and, while draining, refuses. One per API server process, made by vLLM itself.

    A connection whose answer began before the drain was promised to be kept: HTTP has no way to take that
    back once the headers are out, and its client may send the next request on it before it can know. It gets
    one last ride, with `Connection: close`, as long as the drain has the time.
    """

    def __init__(self, app: App, run_dir: Path | None = None) -> None:
        self._app = app
        self._run_dir = run_dir or Path(os.environ[ENV_RUN_DIR])
        self._spread_above = int(os.environ.get(ENV_SPREAD_ABOVE, "0"))
        self._control = Control(self._run_dir)
        self._opened: Ledger | None = None
        self._promised: set[tuple[str, int]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        ledger = self._ledger()
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
        elif not is_work(scope):
            await self._app(scope, receive, self._closing(send))
        elif not self._admits(scope):
            ledger.add(Word.REFUSED_DRAINING)
            await refuse(scope, receive, send)
        else:
            promise = partial(self._remember, scope)
            await _Passage(ledger, self._control, receive, self._closing(send), promise).run(self._app, scope)

    def _admits(self, scope: Scope) -> bool:
        phase = self._control.phase
        if phase is not Phase.REFUSING:
            return phase is not Phase.STOPPED
        client = scope.get("client")
        if client is None or tuple(client) not in self._promised:
            return False
        self._promised.discard(tuple(client))
        return time.time() < self._control.rides_until

    def _remember(self, scope: Scope) -> None:
        if self._control.phase is not Phase.SERVING and scope.get("client"):
            self._promised.add(tuple(scope["client"]))

    def _ledger(self) -> Ledger:
        """Opened with the first message (the lifespan's): in the process that serves, not before a fork."""
        if self._opened is None:
            self._opened = Ledger(self._run_dir)
        return self._opened

    def _closing(self, send: Send) -> Send:
        """Announce the close on every response whose client had better connect anew."""

        async def announce(message: Message) -> None:
            if message["type"] == "http.response.start" and self._moves_clients_on():
                message["headers"] = [*message.get("headers", ()), CLOSE]
            await send(message)

        return announce

    def _moves_clients_on(self) -> bool:
        """While the worker drains, and while requests queue here: a new connection may land elsewhere."""
        if self._control.phase is not Phase.SERVING:
            return True
        return 0 < self._spread_above < self._ledger()[Word.IN_FLIGHT]


def is_work(scope: Scope) -> bool:
    """Whether a request makes the engine generate, embed or score."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith(WORK_PREFIXES) and (scope["type"] == "websocket" or scope["method"] == "POST")


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 503 in the engine's stead.

    The body is read first: closing a socket with unread data resets it, and the client would see the reset
    instead of the answer.
    """
    prefix = ""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013})
            return
        prefix = "websocket."
    else:
        while (await receive()).get("more_body", False):
            pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(REFUSAL)).encode()),
        (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
        CLOSE,
    ]
    await send({"type": f"{prefix}http.response.start", "status": UNAVAILABLE, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": REFUSAL})


class _Passage:
    """One accepted request on its way through the engine, and what became of it."""

    def __init__(
        self, ledger: Ledger, control: Control, receive: Receive, send: Send, promise: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._control = control
        self._receive = receive
        self._send = send
        self._status = 200
        self._tokens = 0
        self._complete = False
        self._broken = False
        self._client_left = False
        # the answer's headers let the client send another request on the same connection
        self._keeps_connection = False
        self._promise = promise

    async def run(self, app: App, scope: Scope) -> None:
        """Whatever happens inside, the request is in flight exactly as long as the app works on it."""
        self._ledger.add(Word.ACCEPTED)
        self._ledger.add(Word.IN_FLIGHT)
        try:
            await app(scope, self._observe_receive, self._observe_send)
        except BaseException:
            self._broken = True
            raise
        finally:
            self._ledger.add(self._outcome())
            self._ledger.add(Word.IN_FLIGHT_TOKENS, -self._tokens)
            self._ledger.add(Word.IN_FLIGHT, -1)

    def _outcome(self) -> Word:
        """An answer cut off is lost, one that its client walked away from is not."""
        if self._control.phase is Phase.STOPPED:
            return Word.LOST_DEADLINE
        if self._client_left:
            return Word.DISCONNECTED
        if self._status == UNAVAILABLE:
            return Word.REFUSED_QUEUE_FULL
        if self._broken or not self._complete or self._status >= SERVER_ERROR:
            return Word.LOST_ERROR
        return Word.FINISHED

    async def _observe_receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._complete:
            self._client_left = True
        elif message["type"] == "websocket.disconnect":
            self._complete = True
        return message

    async def _observe_send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            self._keeps_connection = self._control.phase is Phase.SERVING
        elif kind == "http.response.body":
            self._complete = not message.get("more_body", False)
            body = message.get("body", b"")
            self._broken |= body.startswith(STREAMED_ERROR)
            self._count_tokens(len(body) > 0 and not self._complete)
            if self._complete and self._keeps_connection:
                self._promise()  # the next request may be here before the engine has returned from this one
        elif kind == "websocket.send":
            self._count_tokens(1)
        elif kind == "websocket.close":
            self._complete = True
            self._broken |= message.get("code") == INTERNAL_CLOSE
        await self._send(message)

    def _count_tokens(self, chunks: int) -> None:
        self._tokens += chunks
        self._ledger.add(Word.IN_FLIGHT_TOKENS, chunks)
