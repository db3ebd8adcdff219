"""Flavour nodes, started for real: kubelets, containers, network, loss of nodes, teardown.

The tests share one cluster and run in order; the last one takes it down and looks for what is left.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from inferfleet_local import cluster, network, real
from inferfleet_local.errors import ClusterError
from inferfleet_local.gpus import ready_nodes
from inferfleet_local.image import PAUSE_IMAGE
from inferfleet_local.kubectl import Kubectl
from inferfleet_local.machines import GPU_RESOURCE, machines
from inferfleet_local.node import Node
from inferfleet_local.processes import all_marked, await_true, find
from inferfleet_local.progress import Progress
from inferfleet_local.real import NodeAct
from inferfleet_local.state import Flavour, Places, places, read_record

pytestmark = [
    pytest.mark.nodes,
    pytest.mark.skipif(
        network.owner() is not None, reason=f"not run: the machine's nodes belong to {network.owner()}"
    ),
]

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", sys.base_prefix)
PYTHON = str(Path(sys.base_prefix, "bin", "python3"))


def leftovers() -> dict[str, set[str]]:
    """Everything outside of a cluster's folder that a cluster makes."""
    routes = subprocess.run(
        ["ip", "route", "show", "table", "all"], check=True, capture_output=True, text=True
    ).stdout
    netns = Path("/run/netns")
    return {
        "links": {path.name for path in Path("/sys/class/net").iterdir()},
        "routes": {line.strip() for line in routes.splitlines() if not line.startswith("multicast")},
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "groups": {str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir()},
        "namespaces": {path.name for path in netns.iterdir()} if netns.exists() else set(),
        "folders": {
            str(path) for parent in ("/var/lib", "/var/log", "/run") for path in Path(parent).iterdir()
        },
    }


@pytest.fixture(scope="module")
def before() -> dict[str, set[str]]:
    return leftovers()


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory, before: dict[str, set[str]]) -> Iterator[Places]:
    assert before["links"]
    place = places("if-node-test", {**os.environ, "INFERFLEET_STATE": str(tmp_path_factory.mktemp("n"))})
    yield place
    cluster.down(place, Progress(out=StringIO()))


def up(where: Places) -> Kubectl:
    return cluster.up(where, Flavour.NODES, Progress(out=StringIO()), nodes=2).kubectl


@pytest.fixture(scope="module")
def kubectl(where: Places) -> Kubectl:
    return up(where)


def act(where: Places, node: str, what: NodeAct) -> None:
    record = read_record(where)
    assert record is not None
    real.act_on_node(where, record, cluster.ready_programs(where, record), node, what)


def ready(kubectl: Kubectl) -> set[str]:
    return ready_nodes(kubectl.get("nodes"), GPU_RESOURCE, {})


def pod(name: str, node: str, command: list[str], gpus: int) -> dict[str, Any]:
    """A pod that runs the host's Python, so that this level needs no image but the pause one."""
    volumes = [(f"system-{number}", path) for number, path in enumerate(SYSTEM) if Path(path).exists()]
    container = {
        "name": "main",
        "image": PAUSE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"limits": {GPU_RESOURCE: str(gpus)}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": at, "mountPath": path, "readOnly": True} for at, path in volumes],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "hostname": name,
            "subdomain": "peers",
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": at, "hostPath": {"path": path}} for at, path in volumes],
        },
    }


def service(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def web(kubectl: Kubectl) -> Kubectl:
    """One web server on each node, behind a Service and a headless one."""
    assert await_true(lambda: "default" in kubectl("get", "serviceaccounts"), timeout_seconds=30)
    serve = [PYTHON, "-m", "http.server", "8080"]
    kubectl.apply(
        [
            service("web", {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}),
            service("peers", {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 8080}]}),
            pod("web-1", "if-node-1", serve, gpus=3),
            pod("web-2", "if-node-2", serve, gpus=4),
        ]
    )
    kubectl("wait", "--for=condition=Ready", "pod/web-1", "pod/web-2", "--timeout=60s")
    return kubectl


def ask(kubectl: Kubectl, asking: str, url: str) -> str:
    """Ask a web server from inside of a pod and return the status, trying again while it is refused."""
    program = f"import urllib.request as u; print(u.urlopen('{url}', timeout=3).status)"
    answers: list[str] = []

    def answered() -> bool:
        with suppress(ClusterError):
            answers.append(kubectl("exec", asking, "--", PYTHON, "-c", program).strip())
        return bool(answers)

    await_true(answered, timeout_seconds=20)
    return answers[-1] if answers else "no answer"


def test_both_nodes_are_ready_with_gpus_and_the_labels_of_their_kind(kubectl: Kubectl):
    assert ready(kubectl) == {"if-node-1", "if-node-2"}
    for one, listed in zip(machines(2), kubectl.get("nodes")["items"], strict=True):
        assert listed["metadata"]["labels"].items() >= one.labels.items()
        assert listed["status"]["capacity"][GPU_RESOURCE] == str(one.gpus)


@pytest.mark.parametrize(
    "url",
    [
        "http://web",
        "http://web.default.svc.cluster.local",
        "http://web-1.peers:8080",
        "http://web-2.peers:8080",
    ],
)
@pytest.mark.parametrize("asking", ["web-1", "web-2"])
def test_pods_reach_each_other_by_name_on_both_nodes(web: Kubectl, asking: str, url: str):
    assert ask(web, asking, url) == "200"


def test_pods_reach_the_api_server_through_its_service(web: Kubectl):
    program = """
import ssl, urllib.request as u
d = "/var/run/secrets/kubernetes.io/serviceaccount/"
token = {"Authorization": "Bearer " + open(d + "token").read()}
r = u.Request("https://kubernetes.default/version", headers=token)
print(u.urlopen(r, context=ssl.create_default_context(cafile=d + "ca.crt"), timeout=5).status)
"""
    assert web("exec", "web-2", "--", PYTHON, "-c", program).strip() == "200"


def test_a_name_outside_of_the_cluster_fails_at_once(web: Kubectl):
    program = """
import socket
try: socket.getaddrinfo("example.org", 80)
except socket.gaierror as error: print(error.errno)
"""
    assert web("exec", "web-1", "--", PYTHON, "-c", program).strip() == "-2"  # EAI_NONAME


def test_the_host_reaches_pods_and_services(web: Kubectl):
    pod_address = web.get("pod", "web-2")["status"]["podIP"]
    service_address = web.get("service", "web")["spec"]["clusterIP"]
    for url in (f"http://{pod_address}:8080", f"http://{service_address}"):
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 both are http
            assert answer.status == 200


def test_logs_are_read_through_the_kubelet(web: Kubectl):
    assert "GET /" in web("logs", "web-1")


def test_a_pod_that_wants_more_gpus_than_are_left_waits(web: Kubectl):
    web.apply([pod("greedy", "if-node-1", ["/pause"], gpus=2)])

    def unschedulable() -> bool:
        conditions = web.get("pod", "greedy")["status"].get("conditions", [])
        return any(one.get("reason") == "Unschedulable" for one in conditions)

    assert await_true(unschedulable, timeout_seconds=10)
    web("delete", "pod", "greedy")


def test_a_claim_gets_a_volume_and_the_next_start_offers_a_deleted_claims_volume_again(
    where: Places, web: Kubectl
):
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "models", "namespace": "default"}
    web.apply([{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}])
    web("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/models", "--timeout=20s")
    volume = web.get("pvc", "models")["spec"]["volumeName"]
    (where.volumes / volume / "weights").mkdir()
    web("delete", "pvc", "models")
    web("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{volume}", "--timeout=20s")
    up(where)
    web("wait", "--for=jsonpath={.status.phase}=Available", f"pv/{volume}", "--timeout=20s")
    assert list((where.volumes / volume).iterdir()) == []


def test_gpus_survive_a_restart_of_the_kubelet(where: Places, web: Kubectl):
    (kubelet,) = [
        one for one in all_marked(where) if "if-node-1" in command(one.pid) and "/kubelet" in command(one.pid)
    ]
    os.kill(kubelet.pid, signal.SIGTERM)
    log = where.logs / "if-node-1-kubelet.log"
    assert await_true(lambda: log.read_text().count("Successfully registered node") == 2, timeout_seconds=30)
    assert web.get("node", "if-node-1")["status"]["allocatable"][GPU_RESOURCE] == "4"
    assert web.get("pod", "web-1")["status"]["containerStatuses"][0]["restartCount"] == 0


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def test_a_node_that_is_cut_off_becomes_unknown_and_comes_back(where: Places, web: Kubectl):
    act(where, "if-node-2", NodeAct.CUTOFF)
    assert Node(where, machines(2)[1]).state == "cut off"
    assert await_true(lambda: ready(web) == {"if-node-1"}, timeout_seconds=40)
    act(where, "if-node-2", NodeAct.RESTORE)
    assert await_true(lambda: ready(web) == {"if-node-1", "if-node-2"}, timeout_seconds=30)


def bridge_address() -> str:
    return Path("/sys/class/net", network.BRIDGE, "address").read_text().strip()


def test_a_killed_node_takes_its_containers_along_and_comes_back_with_gpus(where: Places, web: Kubectl):
    act(where, "if-node-2", NodeAct.KILL)
    assert Node(where, machines(2)[1]).state == "killed"
    assert not [one for one in all_marked(where) if "if-node-2" in command(one.pid)]
    assert not network.link_exists(network.link_name(2))
    assert bridge_address() == network.BRIDGE_ADDRESS, "the others keep their way to the host"
    act(where, "if-node-2", NodeAct.START)
    assert bridge_address() == network.BRIDGE_ADDRESS
    assert ready(web) == {"if-node-1", "if-node-2"}
    web("wait", "--for=condition=Ready", "pod/web-2", "--timeout=60s")
    assert ask(web, "web-1", "http://web-2.peers:8080") == "200"


@pytest.mark.usefixtures("web")
def test_starting_what_runs_keeps_every_process(where: Places):
    held = {
        name: find(where, name) for name in ("etcd", "kube-apiserver", "coredns", "if-node-1", "if-node-2")
    }
    up(where)
    assert {name: find(where, name) for name in held} == held


def test_after_a_crash_a_start_mends_what_is_gone_and_keeps_what_is_stored(where: Places, web: Kubectl):
    for name in ("kube-apiserver", "coredns", "if-node-1", "kube-scheduler"):
        one = find(where, name)
        assert one is not None
        os.kill(one.pid, signal.SIGKILL)
        assert await_true(lambda one=one: not one.alive, timeout_seconds=10)
    subprocess.run(["ip", "route", "flush", "proto", network.ROUTE_PROTOCOL], check=True)
    up(where)
    assert ready(web) == {"if-node-1", "if-node-2"}
    web("wait", "--for=condition=Ready", "pod/web-1", "--timeout=60s")
    assert ask(web, "web-2", "http://web-1.peers:8080") == "200"


@pytest.mark.usefixtures("web")
def test_a_start_that_was_killed_again_and_again_on_its_way_ends_whole(where: Places):
    cluster.down(where, Progress(out=StringIO()))
    command = [sys.executable, "-m", "inferfleet_local", "up", f"--name={where.name}"]
    environment = {**os.environ, "INFERFLEET_STATE": str(where.state_root)}
    for seconds in (0.2, 0.4, 0.8, 1.6, 2.0, 2.5, 3.0):
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=environment, timeout=seconds, check=True, capture_output=True)
    assert ready(up(where)) == {"if-node-1", "if-node-2"}


def test_a_second_cluster_with_real_nodes_is_refused_by_name(where: Places):
    second = Places("if-second", where.state_root, where.cache)
    with pytest.raises(ClusterError, match="if-node-test"):
        up(second)
    cluster.down(second, Progress(out=StringIO()))
    assert ready(up(where)) == {"if-node-1", "if-node-2"}


def test_teardown_leaves_nothing(where: Places, before: dict[str, set[str]]):
    cluster.down(where, Progress(out=StringIO()))
    now = leftovers()
    assert {kind: sorted(now[kind] - before[kind]) for kind in now} == {kind: [] for kind in now}
    assert all_marked(where) == []
    assert not where.folder.exists()
