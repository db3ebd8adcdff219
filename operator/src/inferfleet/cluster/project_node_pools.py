"""Karpenter's NodePools as values: what they can buy, how much of it, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from inferfleet.cluster.project import GPU_SUFFIX
from inferfleet.values import NodePool, Reason, Requirement, Taint

Raw = Mapping[str, Any]


def project_node_pool(raw: Raw) -> NodePool:
    """One NodePool of `karpenter.sh/v1`."""
    spec, status = raw["spec"], raw.get("status", {})
    template = spec.get("template", {})
    machine = template.get("spec", {})
    labels = template.get("metadata", {}).get("labels", {})
    limit = _gpus(spec.get("limits", {}))
    return NodePool(
        name=raw["metadata"]["name"],
        requirements=(
            *(
                Requirement(one["key"], one["operator"], tuple(one.get("values", ())))
                for one in machine.get("requirements", ())
            ),
            *(Requirement(key, "In", (value,)) for key, value in sorted(labels.items())),
        ),
        taints=tuple(
            Taint(taint["key"], taint["effect"], taint.get("value", ""))
            for taint in machine.get("taints", ())
        ),
        gpu_limit=min(limit.values(), default=None),
        gpus=max(_gpus(status.get("resources", {})).values(), default=0),
        problem=_problem(raw),
    )


def _gpus(amounts: Raw) -> dict[str, int]:
    return {
        name: int(amount)
        for name, amount in amounts.items()
        if name.endswith(GPU_SUFFIX) and str(amount).isdecimal()
    }


def _problem(raw: Raw) -> Reason | None:
    """Why it buys nothing: it goes, or is not Ready, in the words of the conditions that do not hold."""
    if "deletionTimestamp" in raw["metadata"]:
        return Reason("Deleted", "it is being deleted")
    conditions = raw.get("status", {}).get("conditions", ())
    if not any(one["type"] == "Ready" and one["status"] == "False" for one in conditions):
        return None
    return Reason("NotReady", ", ".join(_failing(conditions)) or "it is not Ready")


def _failing(conditions: Any) -> Iterator[str]:
    for one in conditions:
        if one["type"] != "Ready" and one["status"] == "False":
            yield f"{one['type']} is False: {one.get('message') or one.get('reason', '')}"
