"""The NodePool that a GPUPool with `spec.provision` asks Karpenter for."""

from __future__ import annotations

from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from inferfleet.api import GPUPool, SpecError
from inferfleet.manifests import render_node_pool
from inferfleet.values import Taint


def pool(**spec: Any) -> GPUPool:
    return GPUPool.parse(
        {
            "apiVersion": "inferfleet.dev/v1alpha1",
            "kind": "GPUPool",
            "metadata": {"name": "l4", "uid": "u-1"},
            "spec": {"instanceTypes": ["g6.xlarge", "g6.2xlarge"], **spec},
        }
    )


def test_without_provision_nothing_of_karpenters_is_written():
    assert render_node_pool(pool()) is None


def test_a_nodepool_with_every_field(snapshot: SnapshotAssertion):
    rendered = render_node_pool(
        pool(
            zones=["zone-b", "zone-a"],
            capacityTypes=["spot", "on-demand"],
            maxNodes=4,
            provision={
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"},
                "limits": {"nvidia.com/gpu": "8"},
                "taints": [{"key": "team", "value": "chat"}, {"key": "nvidia.com/gpu"}],
                "labels": {"team": "chat"},
                "consolidation": {"policy": "WhenEmptyOrUnderutilized", "after": "30s"},
            },
        )
    )
    assert rendered == snapshot


def test_the_defaults_buy_on_demand_in_any_zone_and_keep_others_away(snapshot: SnapshotAssertion):
    assert render_node_pool(pool(provision={})) == snapshot


def test_the_workers_tolerate_the_taints_that_the_machines_come_with():
    asked = pool(provision={"taints": [{"key": "team", "value": "chat", "effect": "NoExecute"}]})
    assert asked.to_values().taints == (Taint("team", "NoExecute", "chat"),)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"instanceTypes": []}, "which nodes form the pool"),
        ({"instanceTypes": [], "nodeSelector": {"a": "b"}, "provision": {}}, "what provision may buy"),
        ({"provision": {"consolidation": {"after": "500ms"}}}, "provision.consolidation.after"),
    ],
)
def test_a_pool_that_nothing_could_be_bought_for_is_refused(spec: dict[str, Any], told: str):
    with pytest.raises(SpecError, match=told):
        pool(**spec)
