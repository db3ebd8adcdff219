"""How soon a node's signal is acted on, often enough for a percentile, against a real API server.

    python benchmarks/signals.py --signals 200

API server, scheduler and EndpointSlice controller are real; kwok plays the kubelets, and no engine answers.
Neither has a part in what is timed: from before the taint is written until the API server's watch has told
that none of the node's workers is in the endpoints, and that a replacement exists. `make faults` times the
same with real kubelets and engines, but engines take a minute to start.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from operator_process import operator
from pretend import Kubectl, deployment, node, prepare

from inferfleet_demo.scene import NAME, NAMESPACE
from inferfleet_faults.signals import TAINT, Signal, acted_on, write_signals
from inferfleet_faults.watching import Pod, Watching
from inferfleet_local import resolve

TAINTED = [{"key": TAINT, "effect": "NoSchedule"}]


def main() -> None:
    """Measure, write all of them, and print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--replicas", type=int, default=40)
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct", help="a model of the catalogue")
    parser.add_argument("--out", type=Path, default=Path("out/signals/signals.json"))
    options = parser.parse_args()
    cluster = resolve("api", name="inferfleet-signals")
    kubectl = Kubectl(Path(cluster.kubectl.program), Path(cluster.kubeconfig))
    try:
        kubectl.apply(*(json.dumps(node(number)) for number in range(options.nodes)))
        prepare(kubectl, NAMESPACE)
        kubectl.apply(json.dumps(deployment(NAME, NAMESPACE, options.model, options.replicas)))
        with operator(kubectl, NAMESPACE), Watching(str(cluster.kubeconfig)) as watching:
            write_signals(repeat(watching, options), options.out)
    finally:
        if cluster.started_here:
            cluster.down()


def repeat(watching: Watching, options: argparse.Namespace) -> list[Signal]:
    """Taint the node whose workers have served longest, again and again, while most of the others serve."""
    most = options.replicas * 3 // 4
    watching.until("all in service", lambda: len(watching.serving()) == options.replicas, 300)
    found: list[Signal] = []
    while len(found) < options.signals:
        watching.until("most in service", lambda: len(watching.serving()) >= most, 300)
        name, victims = oldest(watching)
        at = watching.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": TAINTED}})
        found.append(acted_on(watching, at, victims))
        watching.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
    return found


def oldest(watching: Watching) -> tuple[str, frozenset[str]]:
    """The node whose workers have served longest, and their names."""
    by_node: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in watching.serving():
        by_node[str(pod.node)].append(pod)
    name, pods = min(by_node.items(), key=lambda item: max(pod.seen_at for pod in item[1]))
    return name, frozenset(pod.name for pod in pods)


if __name__ == "__main__":
    main()
