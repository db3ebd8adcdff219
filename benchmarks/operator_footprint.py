"""CPU and memory of the operator's process, against a real API server whose nodes and pods kwok plays.

    python benchmarks/operator_footprint.py --deployments 100 --replicas 10

Pods of a pretend cluster answer no scrape: what is measured is watching, planning and writing, with every
look at a worker failing at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretend import GPUS_PER_NODE, Kubectl, deployment, node, operator, prepare

from inferfleet_local import resolve

NAMESPACE = "footprint"
PORT = 18099
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """The process at one instant, and what it counted so far."""

    at: float
    cpu_seconds: float
    rss_mib: float
    passes: float
    pass_seconds: float


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each calm phase")
    parser.add_argument("--name", default="inferfleet-footprint", help="name of the pretend cluster")
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct", help="a model of the catalogue")
    options = parser.parse_args()
    pods = options.deployments * options.replicas
    cluster = resolve("api", name=options.name)
    kubectl = Kubectl(Path(cluster.kubectl.program), Path(cluster.kubeconfig))
    try:
        kubectl.apply(*(json.dumps(node(number)) for number in range(-(-pods // GPUS_PER_NODE))))
        measure(options, kubectl)
    finally:
        if cluster.started_here:
            cluster.down()


def measure(options: argparse.Namespace, kubectl: Kubectl) -> None:
    """Start the operator, give it work, and read its process at each step."""
    pods = options.deployments * options.replicas
    prepare(kubectl, NAMESPACE)
    with operator(kubectl, NAMESPACE, PORT) as process:
        wait("the operator leads", lambda: scrape().get("inferfleet_lease_held") == 1)
        rows = [calm("no deployment", process, options.seconds)]
        started = read(process)
        fleets = (
            deployment(f"fleet-{number:03}", NAMESPACE, options.model, options.replicas)
            for number in range(options.deployments)
        )
        kubectl.apply(*map(json.dumps, fleets))
        wait(
            f"{pods} pods exist",
            lambda: alive(process) and kubectl.count("pods", NAMESPACE) >= pods,
            seconds=900,
        )
        created = time.time()
        wait(
            f"{pods} replicas are ready",
            lambda: alive(process) and ready_replicas(kubectl) >= pods,
            seconds=900,
        )
        ended = read(process)
        rows.append(row(f"{options.deployments} deployments made, {pods} pods started", started, ended))
        rows.append(calm(f"{options.deployments} deployments, {pods} pods", process, options.seconds))
        print(f"\nfrom apply to the last pod created {created - started.at:.1f} s, ", end="")
        print(f"to the last replica ready in status {ended.at - started.at:.1f} s\n")
        show(rows)


def ready_replicas(kubectl: Kubectl) -> int:
    """Ready replicas over all deployments, as their status says."""
    path = "{range .items[*]}{.status.readyReplicas}{' '}{end}"
    return sum(map(int, kubectl.run("get", "infd", "-n", NAMESPACE, "-o", f"jsonpath={path}").split()))


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


def calm(what: str, process: subprocess.Popen[bytes], seconds: float) -> tuple[str, ...]:
    """Let the operator be for a while."""
    before = read(process)
    threading.Event().wait(seconds)
    return row(what, before, read(process))


def row(what: str, before: Reading, after: Reading) -> tuple[str, ...]:
    """One line of the table."""
    seconds, passes = after.at - before.at, after.passes - before.passes
    each = f"{1000 * (after.pass_seconds - before.pass_seconds) / passes:.1f}" if passes else "-"
    return (
        what,
        f"{seconds:.0f}",
        f"{100 * (after.cpu_seconds - before.cpu_seconds) / seconds:.1f}",
        f"{after.rss_mib:.0f}",
        f"{passes / seconds:.1f}",
        each,
    )


def show(rows: list[tuple[str, ...]]) -> None:
    """Print a Markdown table."""
    heading = ("phase", "seconds", "CPU, % of a core", "RSS, MiB", "passes/s", "ms per pass")
    for cells in (heading, ("---",) * len(heading), *rows):
        print("| " + " | ".join(cells) + " |")


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


if __name__ == "__main__":
    main()
