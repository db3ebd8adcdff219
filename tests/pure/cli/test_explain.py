"""What `explain` and `pools` print of what is known."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from inferfleet.api import InferenceDeploymentStatus
from inferfleet.cli.explain import render
from inferfleet.cli.pools import table
from inferfleet.planning import discover_pools
from inferfleet.values import Node

REFUSED = {
    "state": "Refused",
    "refusal": {"reason": "DoesNotFit", "message": "needs 90 GiB, has 22", "nearest": "4 GPUs would fit"},
    "rejected": [{"candidate": "L4 TP1", "reason": "WeightsDoNotFit", "message": "16 GiB over"}],
    "scaling": {"reason": "Holding", "message": "no sample", "laws": [{"law": "queue", "replicas": 2}]},
    "lostByCause": [{"cause": "node-lost", "requests": 3}],
    "conditions": [
        {
            "type": "Planned",
            "status": "False",
            "reason": "DoesNotFit",
            "message": "needs [more] memory",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}
EVENT = {
    "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
    "type": "Warning",
    "reason": "DoesNotFit",
    "note": "needs 90 GiB",
    "series": {"count": 3, "lastObservedTime": "2026-01-01T00:05:00.000000Z"},
}


def printed(drawn: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200, no_color=True).print(drawn)
    return stream.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        "ns/llama: Refused",
        "refused: DoesNotFit: needs 90 GiB, has 22",
        "nearest: 4 GPUs would fit",
        "L4 TP1  WeightsDoNotFit: 16 GiB over",
        "decision    Holding: no sample",
        "queue asks for 2",
        "DoesNotFit: needs [more] memory",
        "3  lost to node-lost",
        "2026-01-01T00:05:00  Warning  DoesNotFit: needs 90 GiB (x3)",
    ],
)
def test_a_refused_deployment_is_explained(words: str):
    assert words in printed(render("ns/llama", InferenceDeploymentStatus.model_validate(REFUSED), [EVENT]))


def test_a_deployment_that_nobody_has_seen_says_so():
    assert "not seen by the operator yet" in printed(render("ns/x", InferenceDeploymentStatus(), []))


def test_pools_show_what_is_free_and_where_the_price_is_from():
    tags = {
        "nvidia.com/gpu.product": "NVIDIA-L4",
        "nvidia.com/gpu.memory": "23034",
        "nvidia.com/gpu.count": "4",
        "karpenter.sh/capacity-type": "spot",
        "topology.kubernetes.io/zone": "zone-a",
    }
    pools = discover_pools([Node("n", "u", gpus=4, labels=tags)], (), {"n": 1})
    (line,) = [line for line in printed(table(pools)).splitlines() if "L4" in line]
    assert all(word in line for word in ("spot", "zone-a", "3 of 4", "table"))
