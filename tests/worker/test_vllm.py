"""The packed worker over the real engine: `vllm serve`, drained in the middle of a stream.

Runs where INFERFLEET_VLLM_PYTHON names a Python that has vLLM and INFERFLEET_VLLM_MODEL a small model, in the
environment that this engine needs; it is deselected, and named, elsewhere. The end-to-end test on real nodes
covers the same in pods.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferfleet_wire import LaunchPlan, Phase

if TYPE_CHECKING:
    from tests.worker.conftest import Client, RunningWorker

pytestmark = pytest.mark.nodes

LOADING_SECONDS = 300.0
TOKENS = 1500


def ask(tokens: int) -> dict[str, object]:
    return {"model": "tiny", "prompt": "Once", "max_tokens": tokens, "ignore_eos": True}


def test_the_real_engine_finishes_its_stream_refuses_new_work_and_exits_with_0(
    launch: Callable[..., RunningWorker],
    client: Callable[[int], Client],
    free_ports: Callable[[], int],
    eventually: Callable[[Callable[[], object]], object],
    tmp_path: Path,
) -> None:
    python = os.environ["INFERFLEET_VLLM_PYTHON"]
    port = free_ports()
    vllm = (str(Path(python).parent / "vllm"), "serve", os.environ["INFERFLEET_VLLM_MODEL"])
    limits = ("--max-model-len", "2048", "--enforce-eager", "--served-model-name", "tiny")
    plan = LaunchPlan(
        command=(*vllm, "--port", str(port), *limits),
        engine_port=port,
        side_port=free_ports(),
        settle_seconds=0.5,
        termination_log=str(tmp_path / "termination-log"),
    )
    worker = launch(plan, python=python, patience=LOADING_SECONDS)
    assert worker.state().engine_version
    stream = client(port).ask("POST", "/v1/completions", {**ask(TOKENS), "stream": True})
    eventually(lambda: worker.state().in_flight.tokens > 10)
    worker.drain("scale-down", deadline=time.time() + 60, settle=0.5)
    closing = client(port).ask("POST", "/v1/completions", ask(1))
    assert (closing.status, closing.headers["Connection"]) == (200, "close")
    eventually(lambda: worker.state().phase is Phase.REFUSING)
    assert worker.state().in_flight.requests == 1, "the stream still runs"
    refused = client(port).ask("POST", "/v1/completions", ask(1))
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    worker.terminate()
    chunks = [line for line in stream.read().splitlines() if line.startswith(b"data: ")]
    assert chunks[-1] == b"data: [DONE]"
    assert b'"finish_reason":"length"' in chunks[-2]
    assert worker.process.wait(60) == 0
    last = worker.last_state()
    assert (last.finished_total, last.refused_total["draining"], sum(last.lost_total.values())) == (2, 1, 0)
