"""Fixtures that several test levels share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from api_server import ROOT, ApiCluster
from hypothesis import HealthCheck, settings

from inferfleet_local import Flavour, binaries, resolve
from inferfleet_local.cluster import Cluster
from inferfleet_local.progress import Progress

# how fast a busy machine draws examples says nothing about the code
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs real nodes is reported as not run, by name, where this user cannot make them."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("nodes"):
                item.add_marker(pytest.mark.skip(reason="not run: real nodes need root"))


@pytest.fixture(scope="session")
def api_cluster() -> Iterator[ApiCluster]:
    """A real control plane with the definitions installed, started on demand and taken down if we started it.

    `INFERFLEET_TEST_CLUSTER` names another cluster than the default, to keep one running between test runs.
    """
    cluster = resolve("api", name=os.environ.get("INFERFLEET_TEST_CLUSTER", "inferfleet-test"), nodes=2)
    programs = binaries.ensure(Flavour.API, cluster.where.cache, cluster.where.logs / "build.log", Progress())
    api = ApiCluster(cluster.kubectl.program, programs["helm"], cluster.kubeconfig)
    try:
        api.must("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        api.must("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield api
    finally:
        if cluster.started_here:
            cluster.down()


@pytest.fixture(scope="session")
def nodes_cluster() -> Iterator[Cluster]:
    """A cluster with real nodes for all levels that need one, taken down at the end if we started it."""
    cluster = resolve("nodes")
    try:
        yield cluster
    finally:
        if cluster.started_here:
            cluster.down()
