"""Many signals, nothing killed: how soon the endpoints let go, and how soon a replacement is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from inferfleet.values.well_known import KARPENTER_CAPACITY_TYPE
from inferfleet_faults.faults import REPLACED_SECONDS
from inferfleet_faults.stage import CAPACITY_SPEC, RESERVED, SPOT_NODES, Stage, heal_nodes
from inferfleet_faults.watching import Watching

TAINT = "aws-node-termination-handler/spot-itn"
"""An interruption on whatever node it is, so that no kind of capacity is held to be short afterwards."""

REPLICAS = 3


@dataclass(frozen=True)
class Signal:
    """Seconds from before the taint was written until the API server told of both."""

    endpoints_seconds: float
    asked_seconds: float


def repeat(stage: Stage, count: int) -> list[Signal]:
    """Taint one node after the other, two in a row while a third serves, from four on-demand nodes."""
    for node in (RESERVED, *SPOT_NODES):
        stage.scene.kube.run(
            "kubectl", "label", "node", node, f"{KARPENTER_CAPACITY_TYPE}=on-demand", "--overwrite"
        )
    stage.patch_spec({"replicas": REPLICAS, "capacity": {"onDemand": {"base": REPLICAS}}})
    found: list[Signal] = []
    while len(found) < count:
        stage.watching.until("all in service", lambda: _in_service(stage), REPLACED_SECONDS)
        *tainted, _ = sorted({str(pod.node) for pod in stage.watching.staying()})
        found += [_signal(stage, node) for node in tainted]
        for node in tainted:
            stage.untaint(node)
    heal_nodes(stage.scene, reserved=(RESERVED,))
    stage.patch_spec({"capacity": CAPACITY_SPEC})
    return found


def _in_service(stage: Stage) -> bool:
    return len(stage.watching.alive()) == len(stage.watching.serving()) == REPLICAS


def _signal(stage: Stage, node: str) -> Signal:
    victims = frozenset(pod.name for pod in stage.watching.staying() if pod.node == node)
    signal = acted_on(stage.watching, stage.taint(node, TAINT), victims)
    print(signal, flush=True)
    return signal


def acted_on(watching: Watching, at: float, victims: frozenset[str]) -> Signal:
    """Wait until the endpoints are without these pods and a new one is there, and time both."""
    watching.until("out of the endpoints", lambda: watching.without_since(at, victims) is not None, 30)
    watching.until("a replacement asked for", lambda: bool(watching.new_since(at)), 30)
    out = watching.without_since(at, victims)
    return Signal((out or at) - at, watching.new_since(at)[0].seen_at - at)


def write_signals(signals: Sequence[Signal], path: Path) -> None:
    """Write all of them, and print what is between the best and the worst."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(one) for one in signals], indent=1) + "\n")
    for what in ("endpoints_seconds", "asked_seconds"):
        values = sorted(getattr(one, what) for one in signals)
        middle, high = (values[int(share * (len(values) - 1))] for share in (0.5, 0.99))
        print(
            f"{what} of {len(values)} signals: median {middle:.2f}, p99 {high:.2f}, longest {values[-1]:.2f}",
            flush=True,
        )
