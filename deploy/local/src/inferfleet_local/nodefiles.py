"""What a real node is configured with: rendered here as text and values, without touching anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

from inferfleet_local.network import inside_commands
from inferfleet_local.packages import CNI_PLUGINS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferfleet_local.machines import Machine
    from inferfleet_local.network import AddressPlan
    from inferfleet_local.pki import Pair

# Programs of a node write here whatever they are told, so each node sees its own folder in these places.
FIXED_FOLDERS = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/containers")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All that a node's files depend on."""

    machine: Machine
    plan: AddressPlan
    folder: Path
    images: Path
    logs: Path
    programs: Mapping[str, Path]
    cgroup: str
    pause_image: str
    authority: Path
    serving: Pair
    kubelet_account: Path
    proxy_account: Path

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.folder / "containerd.sock"


def files(node: NodeSettings) -> dict[str, str]:
    """Render every file of a node, by its path below the node's folder."""
    return {
        "containerd.toml": containerd_configuration(node),
        "cni.d/10-pods.conflist": as_json(pod_network(node)),
        "kubelet.json": as_json(kubelet_configuration(node)),
        "kube-proxy.json": as_json(kube_proxy_configuration(node)),
        "resolv.conf": f"nameserver {node.plan.dns_service}\n",
        "ip.batch": "\n".join(inside_commands(node.plan, node.machine.index)) + "\n",
        "boot.sh": boot_script(node),
    }


def as_json(value: Any) -> str:
    """Render JSON, which is what these programs read as YAML."""
    return json.dumps(value, indent=1) + "\n"


def containerd_configuration(node: NodeSettings) -> str:
    """Render containerd's configuration.

    `restrict_oom_score_adj`: without CAP_SYS_RESOURCE, which containers as hosts often lack, every sandbox
    dies otherwise. `netns_mounts_under_state_dir`: nothing of a node lies in the host's /run/netns.
    """
    return f"""version = 2
root = {json.dumps(str(node.images))}
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
address = {json.dumps(str(node.socket))}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {json.dumps(node.pause_image)}
disable_apparmor = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {json.dumps(str(CNI_PLUGINS))}
conf_dir = {json.dumps(str(node.folder / "cni.d"))}

[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def pod_network(node: NodeSettings) -> dict[str, Any]:
    """Render the pods' network: one routed link for each pod.

    With a bridge instead, two pods of one node would answer each other past the node's address translation
    and a Service between them would fail unless the host filters bridged packets.
    """
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": str(node.plan.node_pods(node.machine.index))}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}],
    }


def kubelet_configuration(node: NodeSettings) -> dict[str, Any]:
    """Render the kubelet's configuration; nothing is evicted or collected before the disk is really full."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(node.plan.node(node.machine.index)),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(node.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(node.serving.certificate),
        "tlsPrivateKeyFile": str(node.serving.key),
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [str(node.plan.dns_service)],
        "resolvConf": str(node.folder / "resolv.conf"),
        "podLogsDir": str(node.folder / "pod-logs"),
        "volumePluginDir": str(node.folder / "volume-plugins"),
        "makeIPTablesUtilChains": False,
        "nodeStatusUpdateFrequency": "4s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "64Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "enableProfilingHandler": False,
    }


def kube_proxy_configuration(node: NodeSettings) -> dict[str, Any]:
    """Render kube-proxy's configuration; the connection tracking limits are the host's, so it leaves them."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(node.proxy_account)},
        "hostnameOverride": node.machine.name,
        "clusterCIDR": str(node.plan.pods),
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        },
    }


def boot_script(node: NodeSettings) -> str:
    """Render what the first process of a node does: mounts, network, then its programs, each kept running.

    It runs in namespaces of its own (processes, mounts, network), so that its end is the end of everything
    that the node ran, mounted or connected, as with a real machine. It also reaps what containers leave.
    """
    name = node.machine.name
    log = {
        one: quote(str(node.logs / f"{name}-{one}.log")) for one in ("containerd", "kubelet", "kube-proxy")
    }
    own = node.folder / "own"
    binds = "\n".join(
        f"mount --bind {quote(str(own / path.strip('/').replace('/', '-')))} {path}" for path in FIXED_FOLDERS
    )
    labels = ",".join(f"{key}={value}" for key, value in sorted(node.machine.labels.items()))
    kubelet = " ".join(
        [
            quote(str(node.programs["kubelet"])),
            f"--config={quote(str(node.folder / 'kubelet.json'))}",
            f"--kubeconfig={quote(str(node.kubelet_account))}",
            f"--hostname-override={name}",
            f"--node-ip={node.plan.node(node.machine.index)}",
            f"--node-labels={quote(labels)}",
        ]
    )
    containerd = f"containerd --config {quote(str(node.folder / 'containerd.toml'))}"
    proxy = (
        f"{quote(str(node.programs['kube-proxy']))} --config={quote(str(node.folder / 'kube-proxy.json'))}"
    )
    return f"""#!/bin/sh
# Boots {name}.
set -eu
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
{binds}
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip -batch {quote(str(node.folder / "ip.batch"))}
echo 1 >/proc/sys/net/ipv4/ip_forward
rm -f {quote(str(node.socket))}
keep() {{
    while :; do
        "$@" || echo "$1 ended ($?), starting it again"
        sleep 1
    done
}}
keep {containerd} >>{log["containerd"]} 2>&1 &
until [ -S {quote(str(node.socket))} ]; do sleep 0.05; done
keep {kubelet} >>{log["kubelet"]} 2>&1 &
keep {proxy} >>{log["kube-proxy"]} 2>&1 &
wait
"""
