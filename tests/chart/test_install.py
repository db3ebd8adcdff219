"""The chart's life on a real API server: install, rights, upgrade, uninstall."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from api_server import CHART, ApiCluster, Outcome
from waiting import until

pytestmark = pytest.mark.controlplane

NAMESPACE = "inferfleet-chart"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:inferfleet"


def helm(api: ApiCluster, *arguments: str) -> Outcome:
    return api.helm(*arguments, "--namespace", NAMESPACE)


@pytest.fixture(scope="module")
def installed(api_cluster: ApiCluster) -> Iterator[ApiCluster]:
    # the definitions are there already: the chart takes them over, as after `inferfleet crd`
    flags = ("--create-namespace", "--take-ownership", "--server-side=true", "--force-conflicts")
    outcome = helm(api_cluster, "install", "inferfleet", str(CHART), *flags)
    assert outcome.ok, outcome.err
    assert f"kubectl -n {NAMESPACE} rollout status deployment/inferfleet" in outcome.out
    yield api_cluster
    helm(api_cluster, "uninstall", "inferfleet", "--ignore-not-found")
    api_cluster.must("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")


def test_everything_is_there(installed: ApiCluster) -> None:
    deployment = installed.get("deployment", "inferfleet", "-n", NAMESPACE)
    assert deployment["spec"]["replicas"] == 2
    for kind, name in (
        ("pdb", "inferfleet"),
        ("service", "inferfleet-metrics"),
        ("serviceaccount", "inferfleet"),
    ):
        assert installed.get(kind, name, "-n", NAMESPACE)["metadata"]["name"] == name

    def pods() -> int:
        return len(
            installed.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")["items"]
        )

    assert until(lambda: pods() == 2, seconds=15)


MAY = [
    ("patch", "inferencedeployments.inferfleet.dev/status"),
    ("update", "inferencedeployments.inferfleet.dev/finalizers"),
    ("watch", "inferencedeployments.inferfleet.dev"),
    ("list", "gpupools.inferfleet.dev"),
    ("patch", "gpupools.inferfleet.dev/status"),
    ("create", "pods"),
    ("delete", "pods"),
    ("patch", "pods/status"),
    ("get", "pods/log"),
    ("watch", "nodes"),
    ("create", "services"),
    ("patch", "poddisruptionbudgets.policy"),
    ("create", "events.events.k8s.io"),
    ("patch", "configmaps"),
    ("get", "secrets"),
    ("create", "podmonitors.monitoring.coreos.com"),
    ("list", "nodeclaims.karpenter.sh"),
]
MAY_NOT = [
    ("delete", "nodes"),
    ("patch", "nodes"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("delete", "inferencedeployments.inferfleet.dev"),
    ("create", "pods/exec"),
    ("create", "clusterroles.rbac.authorization.k8s.io"),
    ("delete", "namespaces"),
    ("create", "nodepools.karpenter.sh"),
    ("update", "leases.coordination.k8s.io"),  # anywhere but in its own namespace
]


def may(api: ApiCluster, verb: str, resource: str, namespace: str) -> bool:
    """Ask the authorizer itself: it knows rights on kinds that are not installed, too."""
    name, _, subresource = resource.partition("/")
    plural, _, group = name.partition(".")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": OPERATOR,
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{NAMESPACE}",
                "system:authenticated",
            ],
            "resourceAttributes": {
                "verb": verb,
                "group": group,
                "resource": plural,
                "subresource": subresource,
                "namespace": namespace,
            },
        },
    }
    answer = json.loads(api.must("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize(("verb", "resource"), MAY, ids=str)
def test_the_operator_may_do_its_work(installed: ApiCluster, verb: str, resource: str) -> None:
    assert may(installed, verb, resource, "default")


@pytest.mark.parametrize(("verb", "resource"), MAY_NOT, ids=str)
def test_the_operator_may_do_nothing_else(installed: ApiCluster, verb: str, resource: str) -> None:
    assert not may(installed, verb, resource, "default")


def test_the_lease_is_held_in_its_own_namespace(installed: ApiCluster) -> None:
    assert may(installed, "update", "leases.coordination.k8s.io", NAMESPACE)


def test_an_editor_of_a_namespace_may_deploy_models_there(installed: ApiCluster) -> None:
    rules = installed.get("clusterrole", "edit")["rules"]

    def granted() -> bool:
        rules = installed.get("clusterrole", "edit")["rules"]
        return any("inferencedeployments" in rule["resources"] for rule in rules if "resources" in rule)

    assert until(granted, seconds=15), rules


def test_an_upgrade_and_an_uninstall_keep_what_users_made(installed: ApiCluster) -> None:
    kept = {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "kept", "namespace": NAMESPACE},
        "spec": {"model": {"id": "org/model"}},
    }
    outcome = installed.apply(kept)
    assert outcome.ok, outcome.err
    uid = installed.get("infd", "kept", "-n", NAMESPACE)["metadata"]["uid"]

    outcome = helm(installed, "upgrade", "inferfleet", str(CHART), "--set", "replicaCount=3")
    assert outcome.ok, outcome.err
    assert installed.get("deployment", "inferfleet", "-n", NAMESPACE)["spec"]["replicas"] == 3
    assert installed.get("infd", "kept", "-n", NAMESPACE)["metadata"]["uid"] == uid

    outcome = helm(installed, "uninstall", "inferfleet")
    assert outcome.ok, outcome.err
    assert not installed.kubectl("get", "deployment", "inferfleet", "-n", NAMESPACE).ok
    assert installed.get("infd", "kept", "-n", NAMESPACE)["metadata"]["uid"] == uid
