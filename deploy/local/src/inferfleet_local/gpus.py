"""Pretended GPUs on real kubelets: an extended resource that is written into the nodes' status."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from inferfleet_local.errors import ClusterError
from inferfleet_local.machines import GPU_RESOURCE
from inferfleet_local.processes import await_true

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferfleet_local.kubectl import Kubectl

READY_SECONDS = 120
EVER = datetime(1970, 1, 1, tzinfo=UTC)


def await_gpus(kubectl: Kubectl, amounts: Mapping[str, int], since: Mapping[str, datetime]) -> None:
    """Give nodes their GPUs as they register, and wait until all are Ready and offer them.

    Args:
        kubectl: The cluster.
        amounts: GPUs by node.
        since: For nodes that were started just now: when. What they said before then does not count.

    Raises:
        ClusterError: Some are not ready in time.
    """
    late = dict(amounts)

    def none_late() -> bool:
        listed = kubectl.get("nodes")
        for one in listed["items"]:
            name = one["metadata"]["name"]
            if name in late and one["status"].get("capacity", {}).get(GPU_RESOURCE) != str(late[name]):
                _give(kubectl, name, late[name])
        for name in ready_nodes(listed, GPU_RESOURCE, since):
            late.pop(name, None)
        return not late

    if not await_true(none_late, timeout_seconds=READY_SECONDS):
        raise ClusterError(f"nodes {sorted(late)} are not ready after {READY_SECONDS} s, see their logs")


def _give(kubectl: Kubectl, node: str, amount: int) -> None:
    """Write the capacity; the kubelet takes the amount over into what may be allocated, and keeps it."""
    path = f"/status/capacity/{GPU_RESOURCE.replace('/', '~1')}"
    patch = [{"op": "add", "path": path, "value": str(amount)}]
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(patch))


def ready_nodes(nodes: Mapping[str, Any], resource: str, since: Mapping[str, datetime]) -> set[str]:
    """Return the names of the nodes of a NodeList that are Ready and offer a resource.

    Args:
        nodes: The NodeList.
        resource: What they must offer.
        since: For nodes that were started just now: when. What they said before then does not count.
    """
    return {
        node["metadata"]["name"]
        for node in nodes["items"]
        if _is_ready(node, since.get(node["metadata"]["name"], EVER))
        and node["status"].get("allocatable", {}).get(resource, "0") != "0"
    }


def _is_ready(node: Mapping[str, Any], since: datetime) -> bool:
    return any(
        one["type"] == "Ready"
        and one["status"] == "True"
        and datetime.fromisoformat(one["lastHeartbeatTime"]) >= since
        for one in node["status"].get("conditions", [])
    )
