"""The operator as a process, run from the checkout against a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import until


@dataclass(frozen=True)
class OperatorProcess:
    """One running replica."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def terminate(self) -> int:
        """Ask it to go, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """End it without a chance to say anything."""
        self.process.kill()
        self.process.wait(20)

    def http(self, path: str) -> tuple[int, str]:
        """Ask its health port; status 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except OSError as error:
            return getattr(error, "code", 0), str(error)

    def metric(self, name: str) -> float:
        """The value of a series without labels."""
        found = [
            line.split()[1] for line in self.http("/metrics")[1].splitlines() if line.startswith(f"{name} ")
        ]
        return float(found[0]) if found else 0.0

    @property
    def leads(self) -> bool:
        return self.metric("inferfleet_lease_held") == 1.0

    def lines(self) -> list[dict[str, Any]]:
        """Its log; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def operator(
    kubeconfig: Path, folder: Path, *, name: str = "operator", lease_namespace: str = "default"
) -> Iterator[OperatorProcess]:
    """Run a replica until left; it is killed if it has not ended by then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("inferfleet")
    log = folder / f"{name}.log"
    words = ["run", "--kubeconfig", str(kubeconfig), "--lease-namespace", lease_namespace]
    words += ["--identity", name, "--port", str(port), "--scrape-interval", "500ms"]
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    environment["HF_ENDPOINT"] = "http://127.0.0.1:1"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, *words], stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
    running = OperatorProcess(process, port, log)
    try:
        answers = until(lambda: process.poll() is not None or running.http("/healthz")[0] == 200, seconds=60)
        assert answers, log.read_text()
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()
