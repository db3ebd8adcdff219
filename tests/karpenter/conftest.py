"""One control plane with kwok and Karpenter for all tests here; somebody else's cluster is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from api_server import ROOT, ApiCluster
from karpenter_world import NAMESPACE, World
from operator_process import OperatorProcess, operator

from inferfleet_local import Flavour, binaries, karpenter, resolve
from inferfleet_local.progress import Progress
from inferfleet_local.source import Source


@pytest.fixture(scope="session")
def karpenter_cluster() -> Iterator[tuple[ApiCluster, karpenter.Karpenter]]:
    """Started on demand; `INFERFLEET_TEST_KARPENTER` names another one, to keep it between test runs."""
    cluster = resolve("api", name=os.environ.get("INFERFLEET_TEST_KARPENTER", "inferfleet-karpenter"))
    if cluster.source is Source.KUBECONFIG:
        pytest.skip("not run: Karpenter with pretend machines belongs beside a cluster of our own")
    try:
        programs = binaries.ensure(
            Flavour.API, cluster.where.cache, cluster.where.logs / "build.log", Progress()
        )
        api = ApiCluster(cluster.kubectl.program, programs["helm"], cluster.kubeconfig)
        api.must("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        api.must("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        ours = karpenter.up(cluster, Progress())
        api.must("delete", "nodepools", "--all", "--timeout=60s")
        yield api, ours
    finally:
        if cluster.started_here:
            cluster.down()


@pytest.fixture(scope="session")
def running(
    karpenter_cluster: tuple[ApiCluster, karpenter.Karpenter], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """One operator for all tests: what it remembers of a deployment goes with the deployment."""
    api, _ = karpenter_cluster
    with operator(api.kubeconfig, tmp_path_factory.mktemp("operator")) as process:
        yield process


@pytest.fixture
def world(
    karpenter_cluster: tuple[ApiCluster, karpenter.Karpenter], running: OperatorProcess
) -> Iterator[World]:
    """An empty cluster with everything for sale; what a test leaves is taken away."""
    api, ours = karpenter_cluster
    api.namespace(NAMESPACE)
    ours.start()
    failures = running.metric("inferfleet_pass_failures_total")
    yield World(api, ours)
    assert running.metric("inferfleet_pass_failures_total") == failures, running.log.read_text()[-3000:]
    unhold = '{"metadata":{"finalizers":null}}'
    api.kubectl("patch", "infd", "llama", "-n", NAMESPACE, "--type=merge", "-p", unhold)
    ours.start()
    api.kubectl("delete", "infd,pdb,pods", "--all", "-n", NAMESPACE, "--grace-period=0", "--force")
    api.must("delete", "gpupools,nodepools,nodeclaims", "--all", "--timeout=60s")
    api.must("wait", "--for=delete", "nodes", "--all", "--timeout=60s")
