"""The control plane of real nodes: etcd, API server, controller manager, scheduler and DNS on the host.

Started by hand because a node's certificate must be signed by the cluster's own authority. Two cores are
shared with the workload, so the clocks that only matter to large clusters run slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferfleet_local import dns
from inferfleet_local.errors import ClusterError
from inferfleet_local.kubectl import Kubectl
from inferfleet_local.pki import Authority, kubeconfig, new_key, public_key
from inferfleet_local.processes import await_true, start
from inferfleet_local.run import tail
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from inferfleet_local.binaries import Programs
    from inferfleet_local.network import AddressPlan
    from inferfleet_local.state import Places

ADMINISTRATORS = "system:masters"
API_PORT = 6443
DNS_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The control plane of one cluster."""

    where: Places
    plan: AddressPlan
    programs: Programs

    @property
    def server(self) -> str:
        """The API server's address for nodes and users."""
        return f"https://{self.plan.host}:{API_PORT}"

    @property
    def authority(self) -> Authority:
        """Signs users, nodes and the API server."""
        return Authority(self.where.folder / "pki", "ca")

    @property
    def front_proxy(self) -> Authority:
        """Signs the aggregation layer's client; with the users' authority, any user could pose as one."""
        return Authority(self.where.folder / "pki", "front-proxy-ca")

    @property
    def kubectl(self) -> Kubectl:
        """The administrator's kubectl."""
        return Kubectl(self.programs["kubectl"], self.where.kubeconfig)

    def user(self, name: str, *, group: str = "") -> Path:
        """Return the kubeconfig of a component, made on first use."""
        path = self.where.folder / "users" / f"{name.replace(':', '-')}.json"
        return path if path.exists() else self._kubeconfig(path, name, group)

    def _kubeconfig(self, path: Path, name: str, group: str) -> Path:
        pair = self.authority.issue(name.replace(":", "-"), common_name=name, organization=group)
        return kubeconfig(path, server=self.server, authority=self.authority.pair.certificate, pair=pair)

    def start(self) -> None:
        """Start what does not run, and wait until the API server is ready."""
        self._kubeconfig(self.where.kubeconfig, "admin", ADMINISTRATORS)
        start(self.where, "etcd", etcd_arguments(self))
        api_server = start(self.where, "kube-apiserver", api_server_arguments(self))
        log = self.where.logs / "kube-apiserver.log"
        self.kubectl.await_ready(log, going_on=lambda: api_server.alive)
        start(self.where, "kube-controller-manager", controller_manager_arguments(self))
        start(self.where, "kube-scheduler", scheduler_arguments(self))

    def start_dns(self) -> None:
        """Start CoreDNS on the bridge, unless it runs."""
        corefile = self.where.folder / "Corefile"
        write_atomically(corefile, dns_configuration(self.plan, self.user("system:coredns")))
        start(self.where, "coredns", [self.programs["coredns"], "-conf", corefile])

    def await_dns(self) -> None:
        """Wait until the cluster's names are answered.

        Raises:
            ClusterError: They are not in time.
        """
        if not await_true(lambda: dns.answers(str(self.plan.host)), timeout_seconds=DNS_SECONDS):
            log = self.where.logs / "coredns.log"
            raise ClusterError(f"CoreDNS does not answer after {DNS_SECONDS} s, log {log}:\n{tail(log)}")


def etcd_arguments(plane: ControlPlane) -> list[str | Path]:
    """Render etcd's command; it may lose its last writes in a power cut, which a local cluster may too."""
    client, peer = f"http://{plane.plan.etcd}:2379", f"http://{plane.plan.etcd}:2380"
    return [
        plane.programs["etcd"],
        f"--data-dir={plane.where.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--heartbeat-interval=500",
        "--election-timeout=5000",
        "--auto-compaction-retention=1",
        "--log-level=warn",
    ]


def api_server_arguments(plane: ControlPlane) -> list[str | Path]:
    """Render the API server's command."""
    plan, authority = plane.plan, plane.authority
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    names.append("kubernetes.default.svc.cluster.local")
    serving = authority.issue(
        "apiserver",
        common_name="kube-apiserver",
        alternatives=[*(f"DNS:{name}" for name in names), f"IP:{plan.host}", f"IP:{plan.api_service}"],
    )
    to_kubelet = authority.issue(
        "apiserver-kubelet", common_name="kube-apiserver", organization=ADMINISTRATORS
    )
    proxy = plane.front_proxy.issue("front-proxy", common_name="front-proxy-client")
    accounts = new_key(plane.where.folder / "pki" / "service-accounts.key")
    return [
        plane.programs["kube-apiserver"],
        f"--etcd-servers=http://{plan.etcd}:2379",
        f"--bind-address={plan.host}",
        f"--advertise-address={plan.host}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={plan.services}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority.pair.certificate}",
        f"--kubelet-certificate-authority={authority.pair.certificate}",
        f"--kubelet-client-certificate={to_kubelet.certificate}",
        f"--kubelet-client-key={to_kubelet.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={plane.front_proxy.pair.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={proxy.certificate}",
        f"--proxy-client-key-file={proxy.key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={public_key(accounts)}",
        f"--service-account-signing-key-file={accounts}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def controller_manager_arguments(plane: ControlPlane) -> list[str | Path]:
    """Render the controller manager's command; a lost node is noticed after 20 s instead of 50 s."""
    account = plane.user("system:kube-controller-manager")
    signing = plane.authority.pair
    return [
        plane.programs["kube-controller-manager"],
        f"--kubeconfig={account}",
        f"--root-ca-file={signing.certificate}",
        f"--service-account-private-key-file={plane.where.folder / 'pki' / 'service-accounts.key'}",
        f"--cluster-signing-cert-file={signing.certificate}",
        f"--cluster-signing-key-file={signing.key}",
        "--use-service-account-credentials=true",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]


def scheduler_arguments(plane: ControlPlane) -> list[str | Path]:
    """Render the scheduler's command."""
    account = plane.user("system:kube-scheduler")
    return [
        plane.programs["kube-scheduler"],
        f"--kubeconfig={account}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]


def dns_configuration(plan: AddressPlan, account: Path) -> str:
    """Render CoreDNS' Corefile: the cluster's names, and for all others that they do not exist."""
    return f"""cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {plan.host}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {account} local
        pods insecure
        ttl 5
    }}
}}
.:53 {{
    bind {plan.host}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
