"""Addresses, links and routes of the real nodes.

A bridge carries the control plane's address and one link to each node; each node routes its own pods' range.
Whole pod and service ranges are blackholed on the host before anything else, so that no packet to a pod can
leave the machine by its default route. Every route carries our protocol number, which is how they are found
again and why nothing else is touched.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local.errors import ClusterError
from inferfleet_local.machines import MOST_NODES
from inferfleet_local.run import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BRIDGE = "ifleet0"
BRIDGE_ADDRESS = "02:00:00:00:00:01"
"""Left to itself a bridge takes the lowest address of its ports: when that node goes, the others lose the
host for half a minute, until their neighbour entries expire."""
ROUTE_PROTOCOL = "217"  # free for anyone's use: iproute2 names none above 200
LAST_RESORT_METRIC = 4278198272
OCTETS = range(201, 250, 3)
FIRST_NODE_HOST = 10


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """Three private ranges in a row: nodes 10.n.0.0/24, pods 10.(n+1).0.0/16, services 10.(n+2).0.0/16."""

    octet: int

    @property
    def nodes(self) -> IPv4Network:
        """The bridge's range."""
        return IPv4Network(f"10.{self.octet}.0.0/24")

    @property
    def pods(self) -> IPv4Network:
        """All pods."""
        return IPv4Network(f"10.{self.octet + 1}.0.0/16")

    @property
    def services(self) -> IPv4Network:
        """All ClusterIPs."""
        return IPv4Network(f"10.{self.octet + 2}.0.0/16")

    @property
    def host(self) -> IPv4Address:
        """The host on the bridge: API server and DNS."""
        return self.nodes[1]

    @property
    def api_service(self) -> IPv4Address:
        """The ClusterIP of `kubernetes.default`, by Kubernetes' rule the first one."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """The ClusterIP of `kube-dns`."""
        return self.services[10]

    @property
    def etcd(self) -> str:
        """Where etcd listens: an address of the loopback range that belongs to this plan alone."""
        return f"127.0.{self.octet}.1"

    def node(self, index: int) -> IPv4Address:
        """A node's address."""
        return self.nodes[FIRST_NODE_HOST + index]

    def node_pods(self, index: int) -> IPv4Network:
        """The range of a node's pods."""
        return IPv4Network((int(self.pods.network_address) + index * 256, 24))


def link_name(index: int) -> str:
    """Return the host's end of a node's link."""
    return f"ifleet-{index}"


def choose_plan(taken: Iterable[IPv4Network]) -> AddressPlan:
    """Choose the first plan whose ranges nobody uses.

    Raises:
        ClusterError: All of them are in use.
    """
    used = list(collapse_addresses(network for network in taken if network.prefixlen))
    for octet in OCTETS:
        plan = AddressPlan(octet)
        if not any(own.overlaps(other) for own in (plan.nodes, plan.pods, plan.services) for other in used):
            return plan
    raise ClusterError("every range from 10.201.0.0/24 to 10.251.0.0/16 is routed elsewhere on this machine")


def taken_ranges() -> list[IPv4Network]:
    """Return the ranges that the host routes now, ours from before a crash left out."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    return [
        IPv4Network(route["dst"])
        for route in routes
        if route["dst"] != "default"
        and route.get("protocol") != ROUTE_PROTOCOL
        and route.get("dev") != BRIDGE
    ]


def host_commands(plan: AddressPlan) -> list[str]:
    """Render what the host needs before the first node, for `ip -batch`; the blackholes come first."""
    return [
        *(
            f"route replace blackhole {network} metric {LAST_RESORT_METRIC} proto {ROUTE_PROTOCOL}"
            for network in (plan.pods, plan.services)
        ),
        f"link set {BRIDGE} addrgenmode none address {BRIDGE_ADDRESS}",
        f"address replace {plan.host}/{plan.nodes.prefixlen} dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ]


def node_commands(plan: AddressPlan, index: int) -> list[str]:
    """Render what the host needs for one node whose link exists: the link up and the way to its pods."""
    return [
        f"link set {link_name(index)} addrgenmode none master {BRIDGE} up",
        f"route replace {plan.node_pods(index)} via {plan.node(index)} dev {BRIDGE} proto {ROUTE_PROTOCOL}",
    ]


def service_route(plan: AddressPlan, index: int | None) -> list[str]:
    """Render the host's way to ClusterIPs: through a node's kube-proxy, or none when no node runs."""
    if index is None:
        return []
    via = f"via {plan.node(index)} dev {BRIDGE} metric 10 proto {ROUTE_PROTOCOL}"
    return [f"route replace {plan.services} {via}"]


def inside_commands(plan: AddressPlan, index: int) -> list[str]:
    """Render the node's own view: its address, other nodes' pods, services; no way out of the machine."""
    others = (
        f"route replace {plan.node_pods(other)} via {plan.node(other)}"
        for other in range(1, MOST_NODES + 1)
        if other != index
    )
    return [
        "link set lo up",
        f"address replace {plan.node(index)}/{plan.nodes.prefixlen} dev eth0",
        "link set eth0 up",
        *others,
        f"route replace {plan.services} via {plan.host}",
        "route replace unreachable default",
    ]


def batch(commands: Sequence[str]) -> None:
    """Carry out many `ip` commands in one go."""
    if commands:
        run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")


def link_exists(name: str) -> bool:
    """Tell whether the host has a link."""
    return Path("/sys/class/net", name).exists()


def owner() -> str | None:
    """Return the folder of the cluster that the bridge belongs to, if there is a bridge."""
    alias = Path("/sys/class/net", BRIDGE, "ifalias")
    return alias.read_text().strip() if alias.exists() else None


def make_host(plan: AddressPlan, folder: Path) -> None:
    """Make routes and bridge on the host.

    Raises:
        ClusterError: Another cluster with real nodes is there; they would share kernel names.
    """
    claim(folder)
    blackholes, rest = host_commands(plan)[:2], host_commands(plan)[2:]
    batch(blackholes)
    if not link_exists(BRIDGE):
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    if not owner():  # new, or a start was killed just here
        run(["ip", "link", "set", BRIDGE, "alias", str(folder)])
    batch(rest)


def claim(folder: Path) -> None:
    """Make sure that no other cluster has real nodes on this machine.

    Raises:
        ClusterError: One has.
    """
    if (other := owner()) not in (None, "", str(folder)):
        raise ClusterError(f"this machine already runs real nodes: cluster {other}; take it down first")


def remove_link(index: int) -> None:
    """Remove a node's link now; the kernel removes it with the node's namespace, but takes its time."""
    if link_exists(link_name(index)):
        with suppress(ClusterError):  # the kernel was faster
            run(["ip", "link", "delete", link_name(index)])


def remove(folder: Path) -> None:
    """Remove links and routes, if they are this cluster's."""
    if owner() not in (None, "", str(folder)):
        return
    for index in range(1, MOST_NODES + 1):
        remove_link(index)
    if link_exists(BRIDGE):
        run(["ip", "link", "delete", BRIDGE])
    run(["ip", "-4", "route", "flush", "proto", ROUTE_PROTOCOL])
