"""Flavour nodes: a control plane on the host, and real nodes around it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local import cgroups, images, network
from inferfleet_local.controlplane import ControlPlane
from inferfleet_local.errors import ClusterError, MissingError
from inferfleet_local.gpus import await_gpus
from inferfleet_local.image import IMAGES, PAUSE_IMAGE
from inferfleet_local.machines import machine, machines
from inferfleet_local.node import Node
from inferfleet_local.nodefiles import FIXED_FOLDERS
from inferfleet_local.objects import dns_objects, recycle_volumes, storage_objects, volume_folders
from inferfleet_local.processes import stop_marked
from inferfleet_local.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from inferfleet_local.binaries import Programs
    from inferfleet_local.kubectl import Kubectl
    from inferfleet_local.progress import Progress
    from inferfleet_local.state import Places, Record


class NodeAct(StrEnum):
    """What can be done to a real node."""

    CUTOFF = "cutoff"
    RESTORE = "restore"
    KILL = "kill"
    START = "start"


CHECKOUT = Path(__file__).resolve().parents[4]


def check(where: Places) -> None:
    """Make sure, before anything is made, that real nodes can be had here.

    Raises:
        MissingError: This is not root.
        ClusterError: Another cluster has real nodes on this machine.
    """
    if os.geteuid() != 0:
        raise MissingError("real nodes need root: run this as root, or use --flavour api")
    network.claim(where.folder)


def up(
    where: Places,
    record: Record,
    get_programs: Callable[[], Programs],
    progress: Progress,
    image_names: Sequence[str],
) -> Kubectl:
    """Bring control plane and nodes up; every step keeps what it finds done."""
    record = _reserve(where, record)
    plan = network.AddressPlan(record.octet)
    with ThreadPoolExecutor(1) as beside:
        built_images = beside.submit(build_images, where, where.logs, image_names, progress)
        plane = ControlPlane(where, plan, get_programs())
        with progress.step("network"):
            network.make_host(plan, where.folder)
        with progress.step("control plane"):
            plane.start()
        with progress.step("DNS and volumes"):
            plane.kubectl.apply(dns_objects(plan) + storage_objects(volume_folders(where.volumes)))
            recycle_volumes(plane.kubectl, where.volumes)
            plane.start_dns()
        nodes = [Node(where, one) for one in machines(record.nodes)]
        with progress.step("nodes started"):
            since = boot(nodes, plane)
            network.batch(service_route(plan, nodes))
        built_images.result()
    with progress.step("images loaded"):
        _load_images(where, nodes, image_names, progress)
    with progress.step("nodes ready, DNS answers"):
        plane.await_dns()
        await_nodes(plane.kubectl, nodes, since)
    return plane.kubectl


def _reserve(where: Places, record: Record) -> Record:
    """Choose and remember, before they are made, the things outside of the cluster's folder."""
    if not record.octet:
        record = record.but(where, octet=network.choose_plan(network.taken_ranges()).octet)
    missing = tuple(folder for folder in FIXED_FOLDERS if not Path(folder).exists())
    record = record.but(where, made_folders=tuple(dict.fromkeys((*record.made_folders, *missing))))
    for folder in missing:
        Path(folder).mkdir(parents=True)
    return record


def boot(nodes: Iterable[Node], plane: ControlPlane) -> dict[str, datetime]:
    """Start the nodes that do not run; return those, and when (whole seconds, as Kubernetes writes times)."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {node.name: now for node in nodes if node.boot(plane, PAUSE_IMAGE)}


def await_nodes(kubectl: Kubectl, nodes: Sequence[Node], since: Mapping[str, datetime]) -> None:
    """Wait until all nodes are Ready and offer their GPUs."""
    await_gpus(kubectl, {node.name: node.machine.gpus for node in nodes}, since)


def service_route(plan: network.AddressPlan, nodes: Iterable[Node]) -> list[str]:
    """Lead the host's way to ClusterIPs through the first node that can be reached."""
    running = (node.machine.index for node in nodes if node.state == "running")
    return network.service_route(plan, next(running, None))


def act_on_node(where: Places, record: Record, programs: Programs, name: str, act: NodeAct) -> None:
    """Cut a node off, restore, kill or start it.

    Raises:
        ClusterError: The cluster has no such real node.
    """
    if not record.octet or not 1 <= (index := machine(name).index) <= record.nodes:
        raise ClusterError(f"{where.name} has no real node {name}")
    nodes = [Node(where, one) for one in machines(record.nodes)]
    node = nodes[index - 1]
    plane = ControlPlane(where, network.AddressPlan(record.octet), programs)
    match act:
        case NodeAct.CUTOFF:
            node.cut_off()
        case NodeAct.RESTORE:
            node.restore(plane.plan)
        case NodeAct.KILL:
            node.kill()
        case NodeAct.START:
            await_nodes(plane.kubectl, [node], boot([node], plane))
    network.batch(service_route(plane.plan, nodes))


def describe(where: Places, record: Record) -> list[str]:
    """Describe the nodes, a line each."""
    return [f"{one.name}: {Node(where, one).state}" for one in machines(record.nodes)]


def build_and_load(
    where: Places, record: Record | None, names: Sequence[str], progress: Progress, *, load: bool
) -> None:
    """Build images from the checkout, and load them into the nodes that run."""
    build_images(where, where.logs, names, progress)
    if load and record is not None:
        nodes = [Node(where, one) for one in machines(record.nodes)]
        _load_images(where, [node for node in nodes if node.process], names, progress)


def build_images(where: Places, logs: Path, names: Sequence[str], progress: Progress) -> None:
    """Build from the checkout what the cache lacks."""
    log, known = logs / "images.log", IMAGES
    stale = [name for name in names if not images.layout_of(known[name], CHECKOUT, where.cache).exists()]
    with progress.step("images built"):
        images.ensure(names, checkout=CHECKOUT, cache=where.cache, log=log, say=progress.say)
    progress.built.extend(f"image {name}" for name in stale)


def _load_images(where: Places, nodes: Sequence[Node], names: Sequence[str], progress: Progress) -> None:
    sockets = [where.node_socket(node.name) for node in nodes]
    log = where.logs / "images.log"
    images.load(names, sockets, checkout=CHECKOUT, cache=where.cache, log=log, say=progress.say)


def down(where: Places, record: Record, progress: Progress) -> None:
    """Remove all that lies outside of the cluster's folder; each part may already be gone."""
    with progress.step("nodes and control plane stopped"):
        for one in machines(record.nodes):
            Node(where, one).kill()
        stop_marked(where)
    with progress.step("links, routes, control groups and mounts removed"):
        network.remove(where.folder)
        cgroups.remove_all(where.name)
        for mount in mounts_below(where.folder):
            run(["umount", "--lazy", mount])
        for folder in record.made_folders:
            if Path(folder).exists():
                Path(folder).rmdir()


def mounts_below(folder: Path) -> list[str]:
    """Return the host's mounts below a folder, the innermost first; there are none unless a user made one."""
    points = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return sorted((point for point in points if Path(point).is_relative_to(folder)), reverse=True)
