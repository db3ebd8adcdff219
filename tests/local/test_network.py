"""The address plan, and what the host and the nodes are told about it."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet_local.errors import ClusterError
from inferfleet_local.machines import MOST_NODES
from inferfleet_local.network import (
    OCTETS,
    AddressPlan,
    choose_plan,
    host_commands,
    inside_commands,
    node_commands,
    service_route,
)

PLAN = AddressPlan(201)


def ranges(plan: AddressPlan) -> list[IPv4Network]:
    return [plan.nodes, plan.pods, plan.services]


def test_every_address_of_a_plan_lies_in_its_range():
    assert PLAN.host in PLAN.nodes
    assert {PLAN.api_service, PLAN.dns_service} <= set(PLAN.services)
    for index in range(1, MOST_NODES + 1):
        assert PLAN.node(index) in PLAN.nodes
        assert PLAN.node_pods(index).subnet_of(PLAN.pods)


def test_no_two_nodes_share_an_address_or_a_pod_range():
    indices = range(1, MOST_NODES + 1)
    assert len({PLAN.node(index) for index in indices} | {PLAN.host}) == MOST_NODES + 1
    assert len({PLAN.node_pods(index) for index in indices}) == MOST_NODES


@given(st.lists(st.tuples(st.integers(196, 255), st.integers(0, 255), st.integers(9, 30)), max_size=12))
def test_a_chosen_plan_never_overlaps_what_is_routed_already(routed: list[tuple[int, int, int]]):
    taken = [
        IPv4Network((f"10.{second}.{third}.0", length), strict=False) for second, third, length in routed
    ]
    try:
        plan = choose_plan(taken)
    except ClusterError:
        blocked = [
            any(mine.overlaps(other) for mine in ranges(AddressPlan(o)) for other in taken) for o in OCTETS
        ]
        assert all(blocked)
    else:
        assert not any(mine.overlaps(other) for mine in ranges(plan) for other in taken)


def test_a_machine_that_routes_all_of_the_ranges_is_refused():
    with pytest.raises(ClusterError, match="routed elsewhere"):
        choose_plan([IPv4Network("10.0.0.0/8")])


def test_a_default_route_takes_no_range():
    assert choose_plan([IPv4Network("0.0.0.0/0")]) == AddressPlan(OCTETS[0])


def test_pods_and_services_are_blackholed_before_anything_else():
    first, second, *rest = host_commands(PLAN)
    assert first.startswith(f"route replace blackhole {PLAN.pods} ")
    assert second.startswith(f"route replace blackhole {PLAN.services} ")
    assert not any("blackhole" in line for line in rest)


def test_every_route_on_the_host_carries_our_mark():
    lines = [*host_commands(PLAN), *node_commands(PLAN, 1), *service_route(PLAN, 1)]
    assert all("proto 217" in line for line in lines if line.startswith("route"))


def test_a_node_reaches_the_other_nodes_pods_and_services_but_nothing_beyond():
    lines = inside_commands(PLAN, 2)
    assert f"route replace {PLAN.node_pods(1)} via {PLAN.node(1)}" in lines
    assert not any(str(PLAN.node_pods(2)) in line for line in lines)
    assert [line for line in lines if "default" in line] == ["route replace unreachable default"]


def test_services_are_unreachable_from_the_host_when_no_node_runs():
    assert service_route(PLAN, None) == []
