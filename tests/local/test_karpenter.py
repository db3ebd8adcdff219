"""The market of pretend machines that Karpenter buys from."""

from pathlib import Path

import pytest

from inferfleet_local import karpenter
from inferfleet_local.cluster import Cluster
from inferfleet_local.errors import ClusterError
from inferfleet_local.kubectl import Kubectl
from inferfleet_local.progress import Progress
from inferfleet_local.source import Source
from inferfleet_local.state import Flavour, places


def offers(*sold_out: str) -> set[str]:
    """What is offered, as TYPE/CAPACITY-TYPE/ZONE."""
    found = set()
    for machine in karpenter.instance_types(sold_out):
        for offering in machine["offerings"]:
            labels = {one["key"]: one["values"][0] for one in offering["Requirements"]}
            bought, zone = labels["karpenter.sh/capacity-type"], labels["topology.kubernetes.io/zone"]
            found.add(f"{machine['name']}/{bought}/{zone}")
    return found


def test_every_machine_is_offered_in_both_ways_in_both_zones():
    assert len(offers()) == 4 * len(karpenter.INSTANCE_TYPES)


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("g6.xlarge/spot/zone-a", 1),
        ("g6.xlarge/spot/*", 2),
        ("*/spot/*", 2 * len(karpenter.INSTANCE_TYPES)),
        ("p5.48xlarge/*", 4),
    ],
)
def test_what_is_sold_out_is_not_offered(pattern: str, gone: int):
    assert len(offers()) - len(offers(pattern)) == gone


def test_spot_is_cheaper():
    for machine in karpenter.instance_types():
        prices = {one["Requirements"][0]["values"][0]: one["Price"] for one in machine["offerings"]}
        assert prices["spot"] < prices["on-demand"]


def test_it_is_refused_beside_a_cluster_that_is_not_ours(tmp_path: Path):
    kubectl = Kubectl(Path("kubectl"), tmp_path / "kubeconfig")
    theirs = Cluster(places("if-any"), Flavour.API, Source.KUBECONFIG, kubectl, started_here=False)
    with pytest.raises(ClusterError, match="use its own"):
        karpenter.up(theirs, Progress())
