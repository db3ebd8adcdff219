"""A real node: one process tree in namespaces of its own, with a link to the bridge."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local import cgroups, network
from inferfleet_local.errors import ClusterError
from inferfleet_local.nodefiles import FIXED_FOLDERS, NodeSettings, files
from inferfleet_local.processes import await_true, find, start, stop
from inferfleet_local.run import run, tail
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from inferfleet_local.controlplane import ControlPlane
    from inferfleet_local.machines import Machine
    from inferfleet_local.processes import Process
    from inferfleet_local.state import Places

SOCKET_PATH_LIMIT = 107  # unix(7): sun_path has 108 bytes, the last one zero
OWN_NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cluster; nothing here needs it to run."""

    where: Places
    machine: Machine

    @property
    def name(self) -> str:
        """Its name in Kubernetes."""
        return self.machine.name

    @property
    def process(self) -> Process | None:
        """The process that holds its namespaces, if it runs."""
        return find(self.where, self.name)

    @property
    def connected(self) -> bool:
        """Whether its link is up."""
        flags = Path("/sys/class/net", network.link_name(self.machine.index), "flags")
        return flags.exists() and bool(int(flags.read_text(), 16) & 1)

    @property
    def state(self) -> str:
        """One word for people."""
        if self.process is None:
            return "killed"
        return "running" if self.connected else "cut off"

    def boot(self, plane: ControlPlane, pause_image: str) -> bool:
        """Start it, or reconnect it if it runs; returns when its containerd answers.

        Returns:
            Whether it was started now.

        Raises:
            ClusterError: It does not come up; the message names the log.
        """
        starting = self.process is None
        if starting:
            self._prepare(plane, pause_image)
        holder = start(self.where, self.name, [*OWN_NAMESPACES, "sh", self.where.node(self.name) / "boot.sh"])
        self._connect(holder, plane.plan)
        socket = self.where.node_socket(self.name)
        if (
            not await_true(lambda: _answers(socket) or not holder.alive, timeout_seconds=30)
            or not holder.alive
        ):
            log = self.where.logs / f"{self.name}.log"
            raise ClusterError(f"{self.name} does not start, logs {log.with_suffix('')}*:\n{tail(log)}")
        return starting

    def _prepare(self, plane: ControlPlane, pause_image: str) -> None:
        where, folder = self.where, self.where.node(self.name)
        if len(str(where.node_socket(self.name))) > SOCKET_PATH_LIMIT:
            raise ClusterError(
                f"{where.node_socket(self.name)} is too long for a socket: set INFERFLEET_STATE"
            )
        for fixed in FIXED_FOLDERS:
            (folder / "own" / fixed.strip("/").replace("/", "-")).mkdir(parents=True, exist_ok=True)
        where.node_images(self.name).mkdir(parents=True, exist_ok=True)
        group = cgroups.group_name(where.name, self.name)
        cgroups.make(group)
        serving = plane.authority.issue(
            f"{self.name}-serving",
            common_name=f"system:node:{self.name}",
            organization="system:nodes",
            alternatives=[f"DNS:{self.name}", f"IP:{plane.plan.node(self.machine.index)}"],
        )
        settings = NodeSettings(
            machine=self.machine,
            plan=plane.plan,
            folder=folder,
            images=where.node_images(self.name),
            logs=where.logs,
            programs=plane.programs.paths,
            cgroup=group,
            pause_image=pause_image,
            authority=plane.authority.pair.certificate,
            serving=serving,
            kubelet_account=plane.user(f"system:node:{self.name}", group="system:nodes"),
            proxy_account=plane.user("system:kube-proxy"),
        )
        for name, text in files(settings).items():
            write_atomically(folder / name, text)

    def _connect(self, holder: Process, plan: network.AddressPlan) -> None:
        link = network.link_name(self.machine.index)
        own = Path(f"/proc/{holder.pid}/ns/net")
        # a link made before the process has left the host's namespace would end up on the host
        if not await_true(lambda: _is_separate(own), timeout_seconds=10):
            raise ClusterError(
                f"{self.name} got no network namespace: {tail(self.where.logs / f'{self.name}.log')}"
            )
        if not network.link_exists(link):
            ends = ["type", "veth", "peer", "name", "eth0", "netns", str(holder.pid)]
            run(["ip", "link", "add", link, *ends])
        network.batch(network.node_commands(plan, self.machine.index))

    def kill(self) -> None:
        """End it as a machine that loses power: all its processes, containers, mounts and links at once."""
        if (holder := self.process) is None:
            return
        processes = Path(f"/proc/{holder.pid}/ns/pid_for_children").readlink()
        stop([holder], grace_seconds=0)
        if not await_true(lambda: not _inhabited(processes), timeout_seconds=20):
            raise ClusterError(f"processes of {self.name} survive it")
        network.remove_link(self.machine.index)

    def cut_off(self) -> None:
        """Unplug its link: it runs on, unseen."""
        run(["ip", "link", "set", network.link_name(self.machine.index), "down"])

    def restore(self, plan: network.AddressPlan) -> None:
        """Plug its link in again."""
        network.batch(network.node_commands(plan, self.machine.index))


def _answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    try:
        run(["ctr", "--address", socket, "version"], timeout_seconds=5)
    except ClusterError:
        return False
    return True


def _is_separate(namespace: Path) -> bool:
    try:
        return namespace.readlink() != Path("/proc/self/ns/net").readlink()
    except FileNotFoundError:
        return False


def _inhabited(process_namespace: Path) -> bool:
    for entry in Path("/proc").glob("[0-9]*/ns/pid"):
        with suppress(OSError):
            if entry.readlink() == process_namespace:
                return True
    return False
