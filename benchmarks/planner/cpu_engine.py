"""Hold KV bytes per token against a real engine: `python benchmarks/planner/cpu_engine.py PYTHON FOLDER`.

PYTHON is the interpreter of an environment with vLLM for CPU, FOLDER holds the model. On a CPU the KV space
is given, not left over, so this checks bytes per token and rounding to blocks; it says nothing of how
weights, working memory and graphs shrink the space on a GPU.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prometheus_client.parser import text_string_to_metric_families

from inferfleet.cli.plan_input import read_model
from inferfleet.planning.accelerators import GIB
from inferfleet.planning.memory import Split, kv_element_bytes, sequence_bytes
from inferfleet.values import ModelFacts

PATIENCE_SECONDS = 300
POLL_SECONDS = 1.0
METRIC = "vllm:cache_config"


def estimate(model: ModelFacts, space_bytes: int, length: int) -> int:
    """KV tokens that the planner would count on in this much space."""
    each = sequence_bytes(model, Split(), kv_element_bytes(model, "auto"), length)
    return space_bytes * length // each


@contextmanager
def engine(python: Path, folder: Path, gib: int, length: int, log: IO[bytes]) -> Iterator[str]:
    """Serve the model on one CPU thread; yield the address once it is healthy, then stop what was started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(python), "-m", "vllm.entrypoints.cli.main", "serve", str(folder)),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", str(length), "--enforce-eager"),
    ]
    settings = {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": str(gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait(process, address)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait(process: subprocess.Popen[bytes], address: str) -> None:
    """Return once the engine answers.

    Raises:
        SystemExit: It ended, or took too long.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            read(f"{address}/health")
            return
        time.sleep(POLL_SECONDS)
    raise SystemExit("the engine did not start")


def read(url: str) -> str:
    """GET a text."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the engine that we started
        return str(answer.read().decode())


def cache_config(metrics: str) -> Mapping[str, str]:
    """Labels of `vllm:cache_config_info`."""
    for family in text_string_to_metric_families(metrics):
        if family.name.startswith(METRIC) and family.samples:
            return family.samples[0].labels
    raise SystemExit(f"no {METRIC} among the engine's metrics")


def main() -> None:
    """Start the engine once, and print its KV tokens beside ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=int, default=1)
    parser.add_argument("--max-model-len", type=int, default=1024)
    asked = parser.parse_args()
    ours = estimate(read_model(str(asked.folder)), asked.gib * GIB, asked.max_model_len)
    with tempfile.TemporaryFile() as log:
        try:
            with engine(asked.python, asked.folder, asked.gib, asked.max_model_len, log) as address:
                said = cache_config(read(f"{address}/metrics"))
        except SystemExit:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-4000:])
            raise
    blocks, size = int(said["num_gpu_blocks"]), int(said["block_size"])
    tokens = int(said.get("kv_cache_size_tokens") or blocks * size)
    print(
        f"engine {tokens} tokens ({blocks} blocks of {size}), ours {ours}, ours / engine {ours / tokens:.4f}"
    )


if __name__ == "__main__":
    main()
