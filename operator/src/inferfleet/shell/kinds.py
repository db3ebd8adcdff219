"""What the operator keeps of each kind of object, and whom a change of it concerns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from inferfleet.api import PRICE_LIST, GPUPool, SpecError, read_prices
from inferfleet.cluster import resources
from inferfleet.cluster.informer import Kind
from inferfleet.cluster.project import PodRecord, key_of, project_gpu_use, project_node, project_pod
from inferfleet.cluster.project_claims import project_claim, project_node_event
from inferfleet.cluster.project_node_pools import project_node_pool
from inferfleet.disruption import EVENT_REASONS
from inferfleet.manifests import render_node_pool
from inferfleet.values import Node, NodeClaim, NodeEvent, NodePool, PoolSpec, Price, labels

log = logging.getLogger(__name__)

Raw = Mapping[str, Any]

EVERYONE: Final = "*"
OURS: Final = f"{labels.MANAGED_BY}={labels.FIELD_MANAGER}"
OTHERS: Final = f"{labels.MANAGED_BY}!={labels.FIELD_MANAGER}"
ABOUT: Final = "involvedObject.kind="
# where Events about objects without a namespace are written
CLUSTER_EVENTS: Final = "default"
# where the operator lives unless it is told, and its price list there
HOME: Final = "inferfleet-system"
PLACED: Final = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """An InferenceDeployment as the API server has it: parsed by the pass, so that its errors are told."""

    key: str
    uid: str
    generation: int
    deleting: bool
    raw: Raw

    @property
    def called(self) -> str | None:
        """The annotation by which somebody asks for a replica, as written."""
        annotation: str | None = self.raw["metadata"].get("annotations", {}).get(labels.WAKE_ANNOTATION)
        return annotation


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A GPUPool; `spec` is None while it makes no sense. `node_pool` is what it asks Karpenter for."""

    name: str
    uid: str
    generation: int
    deleting: bool
    spec: PoolSpec | None
    node_pool: Raw | None
    status: Raw


@dataclass(frozen=True, slots=True)
class NodePoolRecord:
    """A NodePool of Karpenter's, and whose it is: the uid of its controller, and our digest, if any."""

    name: str
    owner: str
    digest: str
    pool: NodePool


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """An object around the workers: enough to see whether it is as it was rendered."""

    deployment: str
    kind: str
    name: str
    digest: str


def deployments(namespaces: frozenset[str]) -> Kind[DeploymentRecord]:
    """InferenceDeployments of the watched namespaces, of all where none is named."""

    def project(raw: Raw) -> DeploymentRecord | None:
        metadata = raw["metadata"]
        if namespaces and metadata["namespace"] not in namespaces:
            return None
        return DeploymentRecord(
            key=key_of(metadata["namespace"], metadata["name"]),
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            deleting="deletionTimestamp" in metadata,
            raw=raw,
        )

    def concerns(before: DeploymentRecord | None, after: DeploymentRecord | None) -> Iterable[str]:
        """A new status is the operator's own word and wakes nobody."""
        known = [record for record in (before, after) if record]
        told = {(record.key, record.generation, record.deleting, record.called) for record in known}
        if len(told) > 1 or before is None or after is None:
            yield from {key for key, *_ in told}

    return Kind(resources.DEPLOYMENTS, project, concerns)


def pods(dropped: Callable[[PodRecord], None]) -> Kind[PodRecord]:
    """The workers' pods; `dropped` hears of each that went."""

    def concerns(before: PodRecord | None, after: PodRecord | None) -> Iterable[str]:
        return {record.deployment for record in (before, after) if record}

    return Kind(
        resources.PODS,
        project_pod,
        concerns,
        label_selector=OURS,
        group=lambda record: record.deployment,
        dropped=dropped,
    )


def gpu_use() -> Kind[tuple[str, int]]:
    """GPUs held by others. They come and go without end, so they wake nobody: the next pass counts them."""
    return Kind(resources.PODS, project_gpu_use, lambda *_: (), label_selector=OTHERS, field_selector=PLACED)


def nodes(on: Callable[[str], Iterable[str]]) -> Kind[Node]:
    """All nodes; `on` names the deployments with a pod on one."""

    def concerns(before: Node | None, after: Node | None) -> Iterable[str]:
        """Those on the node first, for it may be going. Nodes without GPUs matter to nobody."""
        node = after or before
        if node and any(known and known.gpus for known in (before, after)):
            yield from on(node.name)
            yield EVERYONE

    return Kind(resources.NODES, project_node, concerns)


def going_namespaces(of: Callable[[str], Iterable[str]]) -> Kind[tuple[str, str]]:
    """Namespaces that are being deleted, with the timestamp; `of` names the deployments in one."""

    def project(raw: Raw) -> tuple[str, str] | None:
        metadata = raw["metadata"]
        at = metadata.get("deletionTimestamp")
        return (metadata["name"], at) if at else None

    return Kind(
        resources.NAMESPACES,
        project,
        lambda _before, after: of(after[0]) if after else (),
        optional=True,
    )


def pools() -> Kind[PoolRecord]:
    """GPUPools; one that makes no sense is left out with a warning."""

    def project(raw: Raw) -> PoolRecord:
        metadata = raw["metadata"]
        try:
            pool: GPUPool | None = GPUPool.parse(raw)
        except SpecError as error:
            log.warning("GPUPool %s is left out: %s", metadata["name"], error)
            pool = None
        return PoolRecord(
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            deleting="deletionTimestamp" in metadata,
            spec=pool.to_values() if pool else None,
            node_pool=render_node_pool(pool) if pool else None,
            status=raw.get("status", {}),
        )

    def concerns(before: PoolRecord | None, after: PoolRecord | None) -> Iterable[str]:
        same = before and after and replace(before, status=after.status, generation=after.generation) == after
        return () if same else (EVERYONE,)

    return Kind(resources.GPU_POOLS, project, concerns, optional=True)


def claims() -> Kind[NodeClaim]:
    """Karpenter's NodeClaims, where Karpenter is."""

    def concerns(before: NodeClaim | None, after: NodeClaim | None) -> Iterable[str]:
        """What joins or has left is seen on the node."""
        return (EVERYONE,) if before and after and replace(before, node=after.node) != after else ()

    return Kind(resources.NODE_CLAIMS, project_claim, concerns, optional=True)


def node_pools() -> Kind[NodePoolRecord]:
    """Karpenter's NodePools, where Karpenter is."""

    def project(raw: Raw) -> NodePoolRecord:
        metadata = raw["metadata"]
        owners = (one["uid"] for one in metadata.get("ownerReferences", ()) if one.get("controller"))
        digest = metadata.get("annotations", {}).get(labels.HASH_ANNOTATION, "")
        return NodePoolRecord(metadata["name"], next(owners, ""), digest, project_node_pool(raw))

    def concerns(before: NodePoolRecord | None, after: NodePoolRecord | None) -> Iterable[str]:
        """What it has bought is seen on the nodes."""
        same = before and after and replace(before, pool=replace(before.pool, gpus=after.pool.gpus)) == after
        return () if same else (EVERYONE,)

    return Kind(resources.NODE_POOLS, project, concerns, optional=True)


def prices(home: str) -> Kind[tuple[Price, ...]]:
    """The one ConfigMap with prices, beside the operator itself."""

    def project(raw: Raw) -> tuple[Price, ...] | None:
        try:
            return read_prices(raw)
        except SpecError as error:
            log.warning("ConfigMap %s is left out: %s", PRICE_LIST, error.message)
            return None

    return Kind(
        resources.CONFIG_MAPS,
        project,
        lambda _before, _after: (EVERYONE,),
        field_selector=f"metadata.name={PRICE_LIST}",
        namespace=home,
        optional=True,
    )


def node_events(about: str) -> Kind[NodeEvent]:
    """Of all Events about one kind only those that announce an end: they expire by themselves."""
    return Kind(
        resources.CORE_EVENTS,
        lambda raw: project_node_event(raw, EVENT_REASONS),
        lambda _before, after: (EVERYONE,) if after else (),
        field_selector=f"{ABOUT}{about}",
        namespace=CLUSTER_EVENTS,
        optional=True,
    )


def objects(resource: resources.Resource) -> Kind[ObjectRecord]:
    """Objects of one kind around the workers, by what was rendered."""

    def project(raw: Raw) -> ObjectRecord | None:
        metadata = raw["metadata"]
        owner = metadata.get("labels", {}).get(labels.DEPLOYMENT)
        if owner is None:
            return None
        return ObjectRecord(
            deployment=key_of(metadata["namespace"], owner),
            kind=resource.kind,
            name=metadata["name"],
            digest=metadata.get("annotations", {}).get(labels.HASH_ANNOTATION, ""),
        )

    def concerns(before: ObjectRecord | None, after: ObjectRecord | None) -> Iterable[str]:
        """Only a lost or altered object needs anybody: what appears was just made."""
        return {before.deployment} if before and (after is None or after.digest != before.digest) else ()

    return Kind(resource, project, concerns, label_selector=OURS, group=lambda record: record.deployment)
