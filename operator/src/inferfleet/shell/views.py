"""Everything that passes read of the cluster, and who is woken by a change of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Never

from inferfleet.cluster import resources
from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.informer import Informer, View
from inferfleet.cluster.project import PodRecord, gpus_taken, group_workers
from inferfleet.shell import kinds
from inferfleet.shell.kinds import EVERYONE, DeploymentRecord
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
)

# Pods that went and whose engine's last words may still be asked for: by the next pass of their deployment.
REMEMBERED: Final = 512


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


class Views:
    """All views, with the questions that a pass asks of them."""

    def __init__(
        self, api: ApiServer, wakes: Wakes, namespaces: frozenset[str] = frozenset(), home: str = kinds.HOME
    ) -> None:
        wake = wakes.wake
        self.deployments = Informer(api, kinds.deployments(namespaces), wake)
        self.going_namespaces = Informer(api, kinds.going_namespaces(self._in), wake)
        self._departed: deque[PodRecord] = deque(maxlen=REMEMBERED)
        self.pods = Informer(api, kinds.pods(self._departed.append), wake)
        self.gpu_use = Informer(api, kinds.gpu_use(), wake)
        self.nodes = Informer(api, kinds.nodes(self._on), wake)
        self.pools = Informer(api, kinds.pools(), wake)
        self.claims = Informer(api, kinds.claims(), wake)
        self.karpenter_pools = Informer(api, kinds.node_pools(), wake)
        self.node_events = Informer(api, kinds.node_events("Node"), wake)
        self.claim_events = Informer(api, kinds.node_events("NodeClaim"), wake)
        self.price_lists = Informer(api, kinds.prices(home), wake)
        self.services = Informer(api, kinds.objects(resources.SERVICES), wake)
        self.budgets = Informer(api, kinds.objects(resources.DISRUPTION_BUDGETS), wake)
        self._nodes: tuple[int, tuple[Node, ...]] = (-1, ())
        self._taken: tuple[tuple[int, int], dict[str, int]] = ((-1, -1), {})

    def informers(self) -> tuple[Informer[Any], ...]:
        """All of them."""
        return (
            self.deployments,
            self.going_namespaces,
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
            about = kind.field_selector.removeprefix(kinds.ABOUT).lower()
            name = f"{plural}-of-{about}s" if kind.resource is resources.CORE_EVENTS else plural
            yield ("pods-of-others" if kind.label_selector == kinds.OTHERS else name), informer.view

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

    def deployment(self, namespace: str, name: str) -> DeploymentRecord | None:
        """One deployment; None when it is gone. It goes with its namespace.

        Of a namespace the pods are deleted first, and while they drain no deployment is marked.
        """
        record = self.deployments.view.items.get((namespace, name))
        going = self.going_namespaces.view.items.get(("", namespace))
        if record is None or going is None or record.deleting:
            return record
        metadata = {**record.raw["metadata"], "deletionTimestamp": going[1]}
        return replace(record, deleting=True, raw={**record.raw, "metadata": metadata})

    def is_going(self, namespace: str) -> bool:
        """True if nothing new can be written there, Events included."""
        return ("", namespace) in self.going_namespaces.view.items

    def _in(self, namespace: str) -> list[str]:
        """The deployments in a namespace."""
        return [
            record.key for (where, _), record in self.deployments.view.items.items() if where == namespace
        ]

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
