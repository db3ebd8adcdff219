"""The NodePool of Karpenter's that a GPUPool with `spec.provision` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferfleet.api import GPUPool
from inferfleet.manifests.identity import Manifest, hashed
from inferfleet.values import CapacityType, labels
from inferfleet.values.well_known import INSTANCE_TYPE, KARPENTER_CAPACITY_TYPE, ZONE


def render_node_pool(pool: GPUPool) -> Manifest | None:
    """Return the NodePool, owned by the GPUPool so that it goes with it; None where none is asked for."""
    spec, provision = pool.spec, pool.spec.provision
    if provision is None:
        return None
    bought = [kind.value for kind in spec.capacity_types] or [CapacityType.ON_DEMAND.value]
    requirements = [
        _within(INSTANCE_TYPE, spec.instance_types),
        _within(KARPENTER_CAPACITY_TYPE, bought),
    ]
    if spec.zones:
        requirements.append(_within(ZONE, spec.zones))
    limits = dict(provision.limits)
    if spec.max_nodes is not None:
        limits.setdefault("nodes", str(spec.max_nodes))
    template: Manifest = {
        "spec": {
            "nodeClassRef": provision.node_class_ref.model_dump(),
            "requirements": requirements,
            "taints": [
                taint.model_dump(exclude_defaults=True) | {"effect": taint.effect}
                for taint in provision.taints
            ],
        }
    }
    if provision.labels:
        template["metadata"] = {"labels": dict(provision.labels)}
    return hashed(
        {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": _metadata(pool),
            "spec": {
                "template": template,
                "disruption": {
                    "consolidationPolicy": provision.consolidation.policy,
                    "consolidateAfter": provision.consolidation.after,
                },
                **({"limits": limits} if limits else {}),
            },
        }
    )


def _metadata(pool: GPUPool) -> Manifest:
    return {
        "name": pool.metadata.name,
        "labels": {
            "app.kubernetes.io/name": "inferfleet",
            labels.MANAGED_BY: labels.FIELD_MANAGER,
            labels.COMPONENT: "node-pool",
        },
        "ownerReferences": [
            {
                "apiVersion": pool.api_version,
                "kind": pool.kind,
                "name": pool.metadata.name,
                "uid": pool.metadata.uid,
                "controller": True,
            }
        ],
    }


def _within(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": sorted(values)}
