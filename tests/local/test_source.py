"""Which cluster is used, which packages are missing, what the nodes pretend to be."""

from datetime import UTC, datetime, timedelta

import pytest

from inferfleet_local import packages
from inferfleet_local.errors import ClusterError
from inferfleet_local.gpus import ready_nodes
from inferfleet_local.kind import configuration
from inferfleet_local.machines import GPU_RESOURCE, Machine, machine, machines, simulated_node
from inferfleet_local.source import Source, choose
from inferfleet_local.state import Flavour

KUBECONFIG = {"INFERFLEET_USE_KUBECONFIG": "1", "KUBECONFIG": "/k"}
ASSETS = {"KUBEBUILDER_ASSETS": "/a"}
KIND = {"INFERFLEET_USE_KIND": "1"}


@pytest.mark.parametrize(
    ("flavour", "environ", "engine", "source"),
    [
        (Flavour.API, {}, True, Source.BUILT),
        (Flavour.API, {"KUBECONFIG": "/k"}, True, Source.BUILT),
        (Flavour.API, ASSETS | KIND, True, Source.ASSETS),
        (Flavour.API, KUBECONFIG | ASSETS | KIND, True, Source.KUBECONFIG),
        (Flavour.NODES, ASSETS, True, Source.BUILT),
        (Flavour.NODES, ASSETS | KIND, True, Source.KIND),
        (Flavour.NODES, KUBECONFIG | KIND, False, Source.KUBECONFIG),
    ],
)
def test_what_the_user_has_goes_before_what_we_build(
    flavour: Flavour, environ: dict[str, str], engine: bool, source: Source
):
    assert choose(flavour, environ, lambda: engine) is source


@pytest.mark.parametrize("environ", [{"INFERFLEET_USE_KUBECONFIG": "1"}, KIND])
def test_asking_for_a_cluster_that_is_not_there_is_an_error_and_no_silent_change(environ: dict[str, str]):
    with pytest.raises(ClusterError):
        choose(Flavour.NODES, environ, lambda: False)


def test_nobody_asks_for_a_container_engine_that_is_not_wanted():
    def refuse() -> bool:
        raise AssertionError

    assert choose(Flavour.NODES, {}, refuse) is Source.BUILT


def test_missing_packages_are_named_by_their_debian_names():
    assert packages.needed(Flavour.NODES, lambda program: program not in {"nft", "runc"}) == (
        "nftables",
        "runc",
    )
    assert packages.needed(Flavour.NODES, lambda _: True) == ()


def test_a_control_plane_alone_needs_no_package():
    assert packages.needed(Flavour.API, lambda _: False) == ()


def test_two_nodes_are_on_demand_and_spot_in_two_zones_and_four_are_both_in_both():
    kinds = [
        (one.name, one.labels["karpenter.sh/capacity-type"], one.labels["topology.kubernetes.io/zone"])
        for one in machines(4)
    ]
    assert kinds == [
        ("if-node-1", "on-demand", "zone-a"),
        ("if-node-2", "spot", "zone-b"),
        ("if-node-3", "on-demand", "zone-b"),
        ("if-node-4", "spot", "zone-a"),
    ]


def test_a_machine_is_found_by_its_nodes_name():
    assert machine("if-node-12") == Machine(12)


@pytest.mark.parametrize("name", ["node-1", "if-node-", "if-node-x", "if-node-0", "if-node-21"])
def test_a_name_that_no_node_has_is_refused(name: str):
    with pytest.raises(ClusterError):
        machine(name)


def test_simulated_real_and_kind_nodes_wear_the_same_labels():
    one = Machine(1)
    assert simulated_node(one)["metadata"]["labels"].items() >= one.labels.items()
    assert configuration((one,))["nodes"][1]["labels"] == one.labels


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def node(status: str, gpus: str, heartbeat: datetime) -> dict:
    ready = {"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat.isoformat()}
    return {"metadata": {"name": "n"}, "status": {"allocatable": {GPU_RESOURCE: gpus}, "conditions": [ready]}}


@pytest.mark.parametrize(
    ("listed", "since", "ready"),
    [
        (node("True", "4", NOW), {}, {"n"}),
        (node("Unknown", "4", NOW), {}, set()),
        (node("True", "0", NOW), {}, set()),
        (node("True", "4", NOW), {"n": NOW}, {"n"}),
        (node("True", "4", NOW - timedelta(seconds=1)), {"n": NOW}, set()),
        ({"metadata": {"name": "n"}, "status": {}}, {}, set()),
    ],
)
def test_a_node_is_ready_when_it_says_so_now_and_offers_its_gpus(listed: dict, since: dict, ready: set[str]):
    assert ready_nodes({"items": [listed]}, GPU_RESOURCE, since) == ready
