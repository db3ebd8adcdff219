"""How the control plane's programs are started."""

from pathlib import Path

import pytest

from inferfleet_local.binaries import Programs
from inferfleet_local.controlplane import ControlPlane, dns_configuration, etcd_arguments
from inferfleet_local.kwok import PORTS, configuration, free_ports
from inferfleet_local.network import AddressPlan
from inferfleet_local.objects import dns_objects, storage_objects
from inferfleet_local.state import Places

PLAN = AddressPlan(204)
WHERE = Places("c1", Path("/state"), Path("/cache"))
NAMES = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "kwokctl"]
PROGRAMS = Programs({name: Path("/bin") / name for name in NAMES})


def test_etcd_without_authentication_listens_on_loopback_only():
    listening = [
        str(one) for one in etcd_arguments(ControlPlane(WHERE, PLAN, PROGRAMS)) if "-urls=" in str(one)
    ]
    assert len(listening) == 4
    assert all("http://127.0.204.1:" in one for one in listening)


def test_kwok_binds_nothing_to_all_addresses():
    rendered = configuration(WHERE, PROGRAMS, dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))
    assert rendered["options"]["bindAddress"] == "127.0.0.1"
    assert "0.0.0.0" not in str(rendered)


def test_free_ports_are_all_different():
    assert len(set(free_ports(20))) == 20


def test_names_outside_the_cluster_are_answered_without_asking_anyone():
    corefile = dns_configuration(PLAN, Path("/state/c1/users/coredns.json"))
    assert "forward" not in corefile
    assert "rcode NXDOMAIN" in corefile
    assert corefile.count(f"bind {PLAN.host}") == 2


def test_the_dns_service_leads_to_the_host():
    service, endpoints, *_ = dns_objects(PLAN)
    assert service["spec"]["clusterIP"] == "10.206.0.10"
    assert "selector" not in service["spec"]
    assert endpoints["endpoints"][0]["addresses"] == ["10.204.0.1"]


def test_claims_without_a_class_get_a_volume_that_all_nodes_see():
    storage_class, *volumes = storage_objects([Path("/state/c1/volumes/shared-1")])
    assert storage_class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    assert [one["spec"]["hostPath"]["path"] for one in volumes] == ["/state/c1/volumes/shared-1"]
    assert volumes[0]["spec"]["storageClassName"] == storage_class["metadata"]["name"]
    assert "ReadWriteMany" in volumes[0]["spec"]["accessModes"]


@pytest.mark.parametrize("name", ["system:kube-scheduler", "system:node:if-node-1"])
def test_a_users_kubeconfig_is_named_without_colons(name: str, tmp_path: Path):
    place = tmp_path / "c1" / "users" / f"{name.replace(':', '-')}.json"
    place.parent.mkdir(parents=True)
    place.write_text("kept")
    plane = ControlPlane(Places("c1", tmp_path, tmp_path), PLAN, PROGRAMS)
    assert plane.user(name) == place
