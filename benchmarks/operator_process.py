"""The operator's process: started from this checkout, waited for, and read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretend import Kubectl

PORT = 18099
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def operator(kubectl: Kubectl, namespace: str, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Run the operator of this checkout; its log goes when it does."""
    command = [Path(sys.executable).with_name("inferfleet"), "run", "--kubeconfig", kubectl.kubeconfig]
    words = ["--lease-namespace", namespace, "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "operator.log").open("wb") as log:
        process = subprocess.Popen([*command, *words], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@dataclass(frozen=True)
class Reading:
    """The process at one instant, and what it counted so far."""

    at: float
    cpu_seconds: float
    rss_mib: float
    passes: float
    pass_seconds: float

    def since(self, before: Reading) -> Spent:
        """What it did from one reading to this one."""
        return Spent(
            self.at - before.at,
            self.cpu_seconds - before.cpu_seconds,
            self.passes - before.passes,
            self.pass_seconds - before.pass_seconds,
        )


@dataclass(frozen=True)
class Spent:
    """What the process did over some seconds."""

    seconds: float
    cpu_seconds: float
    passes: float
    pass_seconds: float

    @property
    def ms_per_pass(self) -> float:
        """Milliseconds of a pass on the mean; 0 without any."""
        return 1000 * self.pass_seconds / self.passes if self.passes else 0.0


def scrape() -> dict[str, float]:
    """The operator's own metrics without their labelled series; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value in pairs}


def read(process: subprocess.Popen[bytes]) -> Reading:
    """Read the process and its counters."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    counted = scrape()
    return Reading(
        at=time.time(),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND,
        rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        passes=counted.get("inferfleet_passes_total", 0.0),
        pass_seconds=counted.get("inferfleet_pass_seconds_sum", 0.0),
    )


def alive(process: subprocess.Popen[bytes]) -> bool:
    """True while the operator runs: one that starves loses its lease and ends, which ends the measurement."""
    if process.poll() is not None:
        raise SystemExit(f"the operator ended with exit code {process.returncode}")
    return True


def wait(what: str, holds: Any, seconds: float = 60.0) -> None:
    """Wait until it holds; give up loudly."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"gave up waiting: {what}")
        pause.wait(0.5)
