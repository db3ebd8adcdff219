"""Everything that passes read of the cluster, and who is woken by a change of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Never

from inferfleet.api import GPUPool, SpecError, read_prices
from inferfleet.cluster import resources
from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.informer import Informer, Kind, View
from inferfleet.cluster.project import (
    PodRecord,
    gpus_taken,
    group_workers,
    key_of,
    project_gpu_use,
    project_node,
    project_pod,
)
from inferfleet.cluster.project_claims import project_claim, project_node_event
from inferfleet.cluster.project_node_pools import project_node_pool
from inferfleet.disruption import EVENT_REASONS
from inferfleet.manifests import render_node_pool
from inferfleet.telemetry.source import Target
from inferfleet.values import (
    LastWords,
    Node,
    NodeClaim,
    NodeEvent,
    NodePool,
    PodPhase,
    PoolSpec,
    Price,
    Reason,
    Worker,
    labels,
)

log = logging.getLogger(__name__)

Raw = Mapping[str, Any]

EVERYONE: Final = "*"
# Pods that went and whose engine's last words may still be asked for: by the next pass of their deployment.
REMEMBERED: Final = 512
OURS: Final = f"{labels.MANAGED_BY}={labels.FIELD_MANAGER}"
OTHERS: Final = f"{labels.MANAGED_BY}!={labels.FIELD_MANAGER}"
ABOUT: Final = "involvedObject.kind="
# where Events about objects without a namespace are written
CLUSTER_EVENTS: Final = "default"
# where the operator lives unless it is told, and its price list there
HOME: Final = "inferfleet-system"
PRICE_LIST: Final = "inferfleet-prices"
PLACED: Final = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


class Wakes:
    """One flag per deployment: something changed, look again. What changed is read from the views."""

    def __init__(self) -> None:
        self._flags: dict[str, asyncio.Event] = {}

    def of(self, key: str) -> asyncio.Event:
        """The flag of one deployment, made on first use."""
        return self._flags.setdefault(key, asyncio.Event())

    def forget(self, key: str) -> None:
        """Drop the flag of a deployment that is gone."""
        self._flags.pop(key, None)

    def wake(self, key: str) -> None:
        """Wake one deployment, or EVERYONE; a deployment that nobody looks after needs no waking."""
        flags = self._flags.values() if key == EVERYONE else filter(None, [self._flags.get(key)])
        for flag in flags:
            flag.set()


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


class Views:
    """All views, with the questions that a pass asks of them."""

    def __init__(
        self, api: ApiServer, wakes: Wakes, namespaces: frozenset[str] = frozenset(), home: str = HOME
    ) -> None:
        wake = wakes.wake
        self.deployments = Informer(api, _deployments(namespaces), wake)
        self._departed: deque[PodRecord] = deque(maxlen=REMEMBERED)
        self.pods = Informer(api, _pods(self._departed.append), wake)
        self.gpu_use = Informer(api, _gpu_use(), wake)
        self.nodes = Informer(api, _nodes(self._on), wake)
        self.pools = Informer(api, _pools(), wake)
        self.claims = Informer(api, _claims(), wake)
        self.karpenter_pools = Informer(api, _node_pools(), wake)
        self.node_events = Informer(api, _node_events("Node"), wake)
        self.claim_events = Informer(api, _node_events("NodeClaim"), wake)
        self.price_lists = Informer(api, _prices(home), wake)
        self.services = Informer(api, _objects(resources.SERVICES), wake)
        self.budgets = Informer(api, _objects(resources.DISRUPTION_BUDGETS), wake)
        self._nodes: tuple[int, tuple[Node, ...]] = (-1, ())
        self._taken: tuple[tuple[int, int], dict[str, int]] = ((-1, -1), {})

    def informers(self) -> tuple[Informer[Any], ...]:
        """All of them."""
        return (
            self.deployments,
            self.pods,
            self.gpu_use,
            self.nodes,
            self.pools,
            self.claims,
            self.karpenter_pools,
            self.node_events,
            self.claim_events,
            self.price_lists,
            self.services,
            self.budgets,
        )

    def named(self) -> Iterator[tuple[str, View[Any]]]:
        """All views by the plural of what they hold."""
        for informer in self.informers():
            kind = informer.view.kind
            plural = kind.resource.plural
            about = kind.field_selector.removeprefix(ABOUT).lower()
            name = f"{plural}-of-{about}s" if kind.resource is resources.CORE_EVENTS else plural
            yield ("pods-of-others" if kind.label_selector == OTHERS else name), informer.view

    async def run(self) -> Never:
        """Keep all views current."""
        async with asyncio.TaskGroup() as group:
            for informer in self.informers():
                group.create_task(informer.run())
        raise AssertionError("informers never end")

    async def synced(self) -> None:
        """Wait until everything was listed once, but for what a cluster need not serve."""
        for informer in self.informers():
            if not informer.view.kind.optional:
                await informer.view.synced.wait()

    def problem(self) -> Reason | None:
        """Why nothing destructive may be decided now; None when all that matters is current."""
        for informer in (self.deployments, self.pods, self.nodes, self.gpu_use):
            problem = informer.view.problem
            if problem:
                return Reason("ViewStale", problem)
        return None

    def workers(self, key: str) -> tuple[Worker, ...]:
        """The workers of one deployment."""
        return group_workers(self.pods.view.of(key))

    def _on(self, node: str) -> Iterable[str]:
        """The deployments with a pod on a node."""
        return {record.deployment for record in self.pods.view.items.values() if record.pod.node == node}

    def last_words(self, key: str) -> tuple[LastWords, ...]:
        """What engines of one deployment left behind that ended; pods that went lately included."""
        departed = (record for record in self._departed if record.deployment == key)
        return tuple(
            record.last_words for record in (*self.pods.view.of(key), *departed) if record.last_words
        )

    def all_nodes(self) -> tuple[Node, ...]:
        """All nodes by name."""
        view = self.nodes.view
        if self._nodes[0] != view.changes:
            self._nodes = (view.changes, tuple(view.items[key] for key in sorted(view.items)))
        return self._nodes[1]

    def node_claims(self) -> tuple[NodeClaim, ...]:
        """All of Karpenter's NodeClaims, by name."""
        items = self.claims.view.items
        return tuple(items[key] for key in sorted(items))

    def node_pools(self) -> tuple[NodePool, ...]:
        """All of Karpenter's NodePools, by name."""
        items = self.karpenter_pools.view.items
        return tuple(items[key].pool for key in sorted(items))

    def prices(self) -> tuple[Price, ...]:
        """What the operator's price list states."""
        return tuple(price for prices in self.price_lists.view.items.values() for price in prices)

    def events_of_nodes(self) -> tuple[NodeEvent, ...]:
        """The Events that say of a node, or of its NodeClaim, that it goes."""
        return (*self.node_events.view.items.values(), *self.claim_events.view.items.values())

    def pool_specs(self) -> tuple[PoolSpec, ...]:
        """All GPUPools that make sense, by name."""
        items = self.pools.view.items
        return tuple(spec for key in sorted(items) if (spec := items[key].spec))

    def gpus_taken(self) -> Mapping[str, int]:
        """GPUs asked for on each node."""
        stamp = (self.gpu_use.view.changes, self.pods.view.changes)
        if self._taken[0] != stamp:
            self._taken = (
                stamp,
                gpus_taken(self.gpu_use.view.items.values(), self.pods.view.items.values()),
            )
        return self._taken[1]

    def objects(self, key: str) -> dict[tuple[str, str], str]:
        """Digests of what is around the workers of a deployment, by kind and name."""
        found = (*self.services.view.of(key), *self.budgets.view.of(key))
        return {(record.kind, record.name): record.digest for record in found}

    def targets(self) -> Iterator[Target]:
        """The workers to look at: those whose leader runs and has an address."""
        for record in self.pods.view.items.values():
            pod = record.pod
            if pod.rank == 0 and pod.ip and pod.phase is PodPhase.RUNNING:
                leaving = pod.drain is not None or pod.deleted_at is not None
                yield Target(
                    record.deployment, record.worker, pod.ip, pod.name, ready=pod.ready, leaving=leaving
                )


def _deployments(namespaces: frozenset[str]) -> Kind[DeploymentRecord]:
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


def _pods(dropped: Callable[[PodRecord], None]) -> Kind[PodRecord]:
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


def _gpu_use() -> Kind[tuple[str, int]]:
    """GPUs held by others. They come and go without end, so they wake nobody: the next pass counts them."""
    return Kind(resources.PODS, project_gpu_use, lambda *_: (), label_selector=OTHERS, field_selector=PLACED)


def _nodes(on: Callable[[str], Iterable[str]]) -> Kind[Node]:
    def concerns(before: Node | None, after: Node | None) -> Iterable[str]:
        """Those on the node first, for it may be going. Nodes without GPUs matter to nobody."""
        node = after or before
        if node and any(known and known.gpus for known in (before, after)):
            yield from on(node.name)
            yield EVERYONE

    return Kind(resources.NODES, project_node, concerns)


def _pools() -> Kind[PoolRecord]:
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


def _claims() -> Kind[NodeClaim]:
    """Karpenter's NodeClaims, where Karpenter is."""

    def concerns(before: NodeClaim | None, after: NodeClaim | None) -> Iterable[str]:
        """What joins or has left is seen on the node."""
        return (EVERYONE,) if before and after and replace(before, node=after.node) != after else ()

    return Kind(resources.NODE_CLAIMS, project_claim, concerns, optional=True)


def _node_pools() -> Kind[NodePoolRecord]:
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


def _prices(home: str) -> Kind[tuple[Price, ...]]:
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


def _node_events(about: str) -> Kind[NodeEvent]:
    """Of all Events about one kind only those that announce an end: they expire by themselves."""
    return Kind(
        resources.CORE_EVENTS,
        lambda raw: project_node_event(raw, EVENT_REASONS),
        lambda _before, after: (EVERYONE,) if after else (),
        field_selector=f"{ABOUT}{about}",
        namespace=CLUSTER_EVENTS,
        optional=True,
    )


def _objects(resource: resources.Resource) -> Kind[ObjectRecord]:
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
