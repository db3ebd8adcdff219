"""A short form of `make faults`: under continuous traffic a pod, the operator and two nodes go, one by one.

Runs on the cluster that the demo's test leaves, with two nodes more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inferfleet_demo.stage import prepare
from inferfleet_faults.faults import FAULTS, prove
from inferfleet_faults.stage import NODES, Stage, stage
from inferfleet_local.cluster import Cluster

pytestmark = pytest.mark.nodes


@pytest.fixture(scope="module")
def running(nodes_cluster: Cluster) -> Iterator[Stage]:
    assert nodes_cluster.kubeconfig.exists()
    with stage(prepare(nodes=NODES, fresh=False)) as found:
        yield found


def test_a_deleted_pod_costs_no_request(running: Stage):
    row = prove(running, FAULTS["pod-deleted"], way_back=False)
    assert row.requests > 0
    assert (row.lost, row.retried, row.counted) == (0, 0, 0), row


def test_an_announced_loss_costs_no_request_though_the_operator_dies_as_the_drain_begins(running: Stage):
    row = prove(running, FAULTS["operator-killed"], way_back=False)
    assert row.requests > 0
    assert (row.lost, row.retried, row.counted) == (0, 0, 0), row


def test_without_notice_only_what_was_in_flight_on_the_dead_node_is_lost_and_it_is_counted(running: Stage):
    row = prove(running, FAULTS["no-notice"], way_back=False)
    assert 1 <= row.lost <= row.in_flight, row
    assert abs(row.counted - row.in_flight) <= row.unheard, row
