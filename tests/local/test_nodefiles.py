"""What a node is configured with."""

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from inferfleet_local.machines import Machine
from inferfleet_local.network import AddressPlan
from inferfleet_local.nodefiles import NodeSettings, files
from inferfleet_local.pki import Pair

FOLDER = Path("/state/c1/nodes/if-node-2")
NODE = NodeSettings(
    machine=Machine(2),
    plan=AddressPlan(201),
    folder=FOLDER,
    images=Path("/cache/nodes/if-node-2"),
    logs=Path("/state/c1/logs"),
    programs={"kubelet": Path("/cache/bin/k/kubelet"), "kube-proxy": Path("/cache/bin/k/kube-proxy")},
    cgroup="ifleet.c1.if-node-2",
    pause_image="example/pause:1",
    authority=Path("/state/c1/pki/ca.crt"),
    serving=Pair(Path("/state/c1/pki/if-node-2.crt"), Path("/state/c1/pki/if-node-2.key")),
    kubelet_account=Path("/state/c1/users/kubelet.json"),
    proxy_account=Path("/state/c1/users/proxy.json"),
)


@pytest.mark.parametrize("name", sorted(files(NODE)))
def test_a_nodes_files_are_as_recorded(name: str, snapshot: SnapshotAssertion):
    assert files(NODE)[name] == snapshot


@pytest.mark.parametrize("name", [name for name in files(NODE) if name.endswith(("json", "conflist"))])
def test_the_structured_files_parse(name: str):
    assert json.loads(files(NODE)[name])


def test_a_folder_with_a_blank_in_its_name_stays_one_word():
    odd = NodeSettings(
        **{field: getattr(NODE, field) for field in NODE.__slots__} | {"folder": Path("/a b/n")}
    )
    assert "'/a b/n/ip.batch'" in files(odd)["boot.sh"]


def test_containers_do_not_ask_for_an_oom_score_that_the_machine_may_not_grant():
    assert "restrict_oom_score_adj = true" in files(NODE)["containerd.toml"]
