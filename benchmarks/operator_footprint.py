"""CPU and memory of the operator's process, against a real API server whose nodes and pods kwok plays.

    python benchmarks/operator_footprint.py --deployments 100 --replicas 10

Pods of a pretend cluster answer no scrape: what is measured is watching, planning and writing, with every
look at a worker failing at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
import time
from pathlib import Path

from operator_process import PORT, Reading, alive, operator, read, scrape, wait
from pretend import GPUS_PER_NODE, Kubectl, deployment, node, prepare, table

from inferfleet_local import resolve

NAMESPACE = "footprint"
HEADING = ("phase", "seconds", "CPU, % of a core", "RSS, MiB", "passes/s", "ms per pass")


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
        print(table((HEADING, *rows)))


def ready_replicas(kubectl: Kubectl) -> int:
    """Ready replicas over all deployments, as their status says."""
    path = "{range .items[*]}{.status.readyReplicas}{' '}{end}"
    return sum(map(int, kubectl.run("get", "infd", "-n", NAMESPACE, "-o", f"jsonpath={path}").split()))


def calm(what: str, process: subprocess.Popen[bytes], seconds: float) -> tuple[str, ...]:
    """Let the operator be for a while."""
    before = read(process)
    threading.Event().wait(seconds)
    return row(what, before, read(process))


def row(what: str, before: Reading, after: Reading) -> tuple[str, ...]:
    """One line of the table."""
    spent = after.since(before)
    return (
        what,
        f"{spent.seconds:.0f}",
        f"{100 * spent.cpu_seconds / spent.seconds:.1f}",
        f"{after.rss_mib:.0f}",
        f"{spent.passes / spent.seconds:.1f}",
        f"{spent.ms_per_pass:.1f}" if spent.passes else "-",
    )


if __name__ == "__main__":
    main()
