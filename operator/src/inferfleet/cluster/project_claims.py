"""Why nodes go, as told elsewhere than on the Node: Karpenter's NodeClaims, and Events about nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from durationpy import from_str

from inferfleet.cluster.project import seconds
from inferfleet.values import NodeClaim, NodeEvent
from inferfleet.values.well_known import KARPENTER_GRACE_ENDS

Raw = Mapping[str, Any]

NEVER: Final = "Never"
DISRUPTION_REASON: Final = "DisruptionReason"
DRIFTED: Final = "Drifted"
CLAIM_KIND: Final = "NodeClaim"


def project_claim(raw: Raw) -> NodeClaim:
    """One NodeClaim of `karpenter.sh/v1`."""
    metadata, status = raw["metadata"], raw.get("status", {})
    deleted = metadata.get("deletionTimestamp")
    holding = {c["type"]: c for c in status.get("conditions", ()) if c.get("status") == "True"}
    return NodeClaim(
        name=metadata["name"],
        node=status.get("nodeName", ""),
        deleted_at=seconds(deleted) if deleted else None,
        reason=holding.get(DISRUPTION_REASON, {}).get("reason", ""),
        drifted=DRIFTED in holding,
        expired=bool(deleted)
        and _age_limit(raw) <= seconds(deleted) - seconds(metadata["creationTimestamp"]),
        ends_at=metadata.get("annotations", {}).get(KARPENTER_GRACE_ENDS, ""),
    )


def project_node_event(raw: Raw, reasons: frozenset[str]) -> NodeEvent | None:
    """An Event with one of `reasons`; None for all others, so that no more of them is kept."""
    reason, about = raw.get("reason", ""), raw.get("involvedObject", {})
    if reason not in reasons or not about.get("name"):
        return None
    return NodeEvent(
        about=about["name"],
        reason=reason,
        at=_last_told(raw),
        uid=about.get("uid", ""),
        claim=about.get("kind") == CLAIM_KIND,
    )


def _last_told(raw: Raw) -> float:
    """When the Event was last repeated: writers fill one or the other of three fields."""
    told = (
        (raw.get("series") or {}).get("lastObservedTime"),
        raw.get("lastTimestamp"),
        raw.get("eventTime"),
        raw["metadata"]["creationTimestamp"],
    )
    return seconds(next(filter(None, told)))


def _age_limit(raw: Raw) -> float:
    """Seconds after which Karpenter deletes the NodeClaim by itself."""
    limit = raw.get("spec", {}).get("expireAfter", NEVER)
    try:
        return float("inf") if limit == NEVER else from_str(limit).total_seconds()
    except ValueError:
        return float("inf")
