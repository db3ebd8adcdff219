"""A stand-in for `vllm serve`: the same server stack (uvicorn, httptools) and life, no model.

    fake_engine.py --port N --gates DIR [--middleware X] [--api-server-count N] [--shutdown-timeout N]

A completion streams `chunks` chunks, then waits until the file `hold` (both from the request's body) is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvicorn

JSON = [(b"content-type", b"application/json")]


async def body_of(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def answer(send: Any, status: int, content: object) -> None:
    await send({"type": "http.response.start", "status": status, "headers": JSON})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def client_left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def gone(path: Path) -> None:
    while path.exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)


async def stream(asked: dict[str, Any], receive: Any, send: Any) -> None:
    """Like Starlette's StreamingResponse: a client that leaves cancels the generation."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    for number in range(asked.get("chunks", 1)):
        await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
    if "hold" in asked:
        left = asyncio.create_task(client_left(receive))
        held = asyncio.create_task(gone(Path(asked["hold"])))
        done, _ = await asyncio.wait({left, held}, return_when=asyncio.FIRST_COMPLETED)
        if left in done:
            held.cancel()
            return
        left.cancel()
    if asked.get("error"):
        await send(
            {"type": "http.response.body", "body": b'data: {"error": {"code": 500}}\n\n', "more_body": True}
        )
    if asked.get("crash"):
        raise RuntimeError("the engine failed")
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await echo(receive, send)
        return
    path = scope["path"]
    asked = json.loads(await body_of(receive) or b"{}")
    if path == "/health":
        await answer(send, 200, {})
    elif path == "/self":
        await answer(send, 200, {"pid": os.getpid(), "argv": sys.argv, "environment": dict(os.environ)})
    elif path == "/exit":
        os._exit(int(asked["code"]))
    elif asked.get("stream"):
        await stream(asked, receive, send)
    else:
        await answer(
            send, asked.get("status", 200), {"pid": os.getpid(), "length": len(asked.get("prompt", ""))}
        )


def gated(middlewares: list[str]) -> Any:
    wrapped: Any = app
    for name in middlewares:
        module, _, attribute = name.rpartition(".")
        wrapped = getattr(importlib.import_module(module), attribute)(wrapped)
    return wrapped


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--descriptor", type=int)
    parser.add_argument("--middleware", action="append", default=[])
    parser.add_argument("--api-server-count", type=int, default=1)
    parser.add_argument("--shutdown-timeout", type=int, default=0)
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--orphan", action="store_true")
    args = parser.parse_args()
    if args.orphan:
        subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"], check=True)
    if args.descriptor is None:
        family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
        listening = socket.create_server((args.host, args.port), family=family, backlog=128)
    else:
        listening = socket.socket(fileno=args.descriptor)
    again = [sys.executable, *sys.argv, "--api-server-count", "1", "--descriptor", str(listening.fileno())]
    others = [
        subprocess.Popen(again, pass_fds=[listening.fileno()]) for _ in range(args.api_server_count - 1)
    ]
    server = uvicorn.Server(
        uvicorn.Config(gated(args.middleware), log_level="warning", http="httptools", lifespan="on")
    )
    # as vLLM does: its own handler instead of uvicorn's, and exit code 0
    server.capture_signals = contextlib.nullcontext

    def stop(*_: object) -> None:
        server.should_exit = not args.ignore_sigterm

    signal.signal(signal.SIGTERM, stop)
    server.run(sockets=[listening])
    for other in others:
        other.terminate()
        other.wait()


if __name__ == "__main__":
    main()
