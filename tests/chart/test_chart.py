"""The chart without a cluster: what it renders, refuses, and says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_server import CHART, ApiCluster, Outcome

from inferfleet.api import read_prices
from inferfleet.cli.run import run as run_command
from inferfleet.telemetry.metrics import Metrics

pytestmark = pytest.mark.controlplane

PRICES = "ConfigMap/inferfleet-prices"
ON: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
        "metrics": {
            "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True, "dollarsPerHour": 100, "alertLabels": {"team": "ml"}},
            "grafanaDashboards": {"enabled": True, "annotations": {"folder": "LLM"}},
        },
        "huggingFace": {"endpoint": "https://hub.example.com", "tokenSecret": {"name": "hub"}},
        "image": {"digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"role": "system"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "system-cluster-critical",
        "extraEnv": [{"name": "X", "value": "y"}],
        "extraArgs": ["--lease=other"],
    },
    "two namespaces": {"watchNamespaces": ["fleet-a", "fleet-b"]},
    "as little as possible": {
        "replicaCount": 1,
        "crds": {"install": False},
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "metrics": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
    },
    "with NodePools": {"rbac": {"writeNodePools": True}},
    "only ourselves": {
        "rbac": {
            "readHubTokens": False,
            "integrations": {"gatewayApi": False, "prometheusOperator": False, "karpenter": False},
        }
    },
}


@pytest.fixture
def render(api_cluster: ApiCluster, tmp_path: Path) -> Any:
    def template(values: dict[str, Any]) -> Outcome:
        path = tmp_path / "values.json"
        path.write_text(json.dumps(values))
        return api_cluster.helm(
            "template", "fleet", str(CHART), "--namespace", "system", "--values", str(path)
        )

    return template


@pytest.fixture
def manifests(render: Any) -> Any:
    def parse(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
        outcome = render(values)
        assert outcome.ok, outcome.err
        documents = [document for document in yaml.safe_load_all(outcome.out) if document]
        named = {f"{d['kind']}/{d['metadata']['name']}": d for d in documents}
        assert len(named) + sum("namespace" in d["metadata"] for d in documents) >= len(documents)
        return {_key(document): document for document in documents}

    return parse


def _key(document: dict[str, Any]) -> str:
    namespace = document["metadata"].get("namespace", "")
    where = f"{namespace}/" if namespace not in {"", "system"} else ""
    return f"{document['kind']}/{where}{document['metadata']['name']}"


def container(made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = made["Deployment/fleet-inferfleet"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_helm_lint_has_nothing_to_say(api_cluster: ApiCluster) -> None:
    outcome = api_cluster.helm("lint", "--strict", str(CHART))
    assert outcome.ok, outcome.out
    assert "[WARNING]" not in outcome.out


@pytest.mark.parametrize("values", ON)
def test_the_api_server_takes_what_is_rendered(api_cluster: ApiCluster, manifests: Any, values: str) -> None:
    for namespace in ("system", *ON[values].get("watchNamespaces", ())):
        api_cluster.namespace(namespace)
    made = manifests(ON[values])
    known = [m for m in made.values() if "monitoring.coreos.com" not in m["apiVersion"]]
    assert "Deployment/fleet-inferfleet" in made
    outcome = api_cluster.apply(*known, dry_run=True)
    assert outcome.ok, outcome.err


def test_two_replicas_with_a_budget_and_definitions_that_stay_are_the_default(manifests: Any) -> None:
    made = manifests({})
    assert made["Deployment/fleet-inferfleet"]["spec"]["replicas"] == 2
    assert made["PodDisruptionBudget/fleet-inferfleet"]["spec"]["maxUnavailable"] == 1
    for name in ("inferencedeployments.inferfleet.dev", "gpupools.inferfleet.dev"):
        annotations = made[f"CustomResourceDefinition/{name}"]["metadata"]["annotations"]
        assert annotations == {"helm.sh/resource-policy": "keep"}
    assert not {"ServiceMonitor", "PrometheusRule", "NetworkPolicy"} & {m["kind"] for m in made.values()}


def test_definitions_can_be_left_out_or_let_go(manifests: Any) -> None:
    assert "CustomResourceDefinition" not in {
        m["kind"] for m in manifests({"crds": {"install": False}}).values()
    }
    made = manifests({"crds": {"keep": False}})
    assert "annotations" not in made["CustomResourceDefinition/gpupools.inferfleet.dev"]["metadata"]


def test_the_operator_runs_restricted(manifests: Any) -> None:
    made = manifests({})
    pod = made["Deployment/fleet-inferfleet"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(made)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("values", ["defaults", "everything", "two namespaces"])
def test_the_command_understands_every_argument(manifests: Any, values: str) -> None:
    arguments = container(manifests(ON[values]))["args"]
    context = run_command.make_context("run", list(arguments), resilient_parsing=False)
    assert context.params["operator_image"].startswith("inferfleet/operator")
    if values == "two namespaces":
        assert arguments[:2] == ["--namespace=fleet-a", "--namespace=fleet-b"]


def test_every_metric_that_the_chart_names_is_one_that_the_operator_has(manifests: Any) -> None:
    made = manifests(ON["everything"])
    shown = json.dumps(
        [made["PrometheusRule/fleet-inferfleet"], made["ConfigMap/fleet-inferfleet-dashboard"]]
    )
    named = set(re.findall(r"\binferfleet_[a-z_]+", shown))
    exported = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    exported |= {family.name for family in Metrics().registry.collect()}
    exported |= {
        f"{family.name}_total" for family in Metrics().registry.collect() if family.type == "counter"
    }
    assert len(named) > 10
    assert {name.removesuffix("_bucket") for name in named} - exported == set()


def test_alerts_are_named_labelled_and_explained(manifests: Any) -> None:
    rules = [
        rule
        for group in manifests(ON["everything"])["PrometheusRule/fleet-inferfleet"]["spec"]["groups"]
        for rule in group["rules"]
    ]
    assert {"InferFleetNotReady", "InferFleetQueueHigh", "InferFleetSpotLost", "InferFleetOperatorDown"} < {
        rule["alert"] for rule in rules
    }
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["labels"]["team"] == "ml"
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    assert "InferFleetCostHigh" in {rule["alert"] for rule in rules}


def test_the_dashboard_is_valid_and_every_panel_asks_something(manifests: Any) -> None:
    config = manifests(ON["everything"])["ConfigMap/fleet-inferfleet-dashboard"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = json.loads(config["data"]["inferfleet.json"])
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 10
    assert all(panel["targets"] and panel["description"] for panel in panels)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_watched_namespaces_narrow_the_rights(manifests: Any) -> None:
    made = manifests({"watchNamespaces": ["fleet-a", "fleet-b"]})
    rules = made["ClusterRole/fleet-inferfleet-cluster-system"]["rules"]
    written = {
        resource
        for rule in rules
        for resource in rule["resources"]
        if not {"get", "list", "watch"}.issuperset(rule["verbs"])
    }
    assert written == {"gpupools/status"}
    assert not {"secrets", "configmaps"} & {resource for rule in rules for resource in rule["resources"]}
    for namespace in ("fleet-a", "fleet-b"):
        role = made[f"Role/{namespace}/fleet-inferfleet"]
        assert ["pods"] in [rule["resources"] for rule in role["rules"]]
        (subject,) = made[f"RoleBinding/{namespace}/fleet-inferfleet"]["subjects"]
        assert subject["namespace"] == "system"


def test_no_role_has_a_wildcard(manifests: Any) -> None:
    for manifest in manifests(ON["everything"]).values():
        for rule in manifest.get("rules", ()) if manifest["kind"].endswith("Role") else ():
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


def test_stated_prices_reach_the_operator_as_it_reads_them(manifests: Any) -> None:
    stated = {"L4": {"onDemand": 0.71, "zones": {"b": {"spot": 0.2}}}}
    made = manifests({"prices": {"asOf": "2026-11-01", "perGpuHour": stated}})
    assert [(price.zone, price.dollars_per_gpu_hour) for price in read_prices(made[PRICES])] == [
        ("", 0.71),
        ("b", 0.2),
    ]
    assert PRICES not in manifests({})


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt value": ({"replicas": 2}, "replicas"),
    "a misspelt value further in": ({"metrics": {"serviceMonitor": {"enable": True}}}, "enable"),
    "no replica": ({"replicaCount": 0}, "replicaCount"),
    "a number as text": ({"replicaCount": "2"}, "replicaCount"),
    "an unknown log format": ({"logFormat": "xml"}, "logFormat"),
    "an unknown pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
    "a privileged port": ({"metrics": {"port": 80}}, "port"),
    "an interval without unit": ({"scrapeInterval": "2"}, "scrapeInterval"),
    "a source of metrics that does not exist": ({"metricsSource": "magic"}, "metricsSource"),
    "a Prometheus without a scheme": ({"prometheus": {"url": "prometheus:9090"}}, "url"),
    "prices of no date": ({"prices": {"perGpuHour": {"L4": {"spot": 0.2}}}}, "prices.asOf"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "digest"),
    "a pull secret without name": ({"imagePullSecrets": [{"nam": "x"}]}, "imagePullSecrets"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_values_are_refused_by_name(render: Any, case: str) -> None:
    values, named = REFUSED[case]
    outcome = render(values)
    assert not outcome.ok
    assert named in outcome.err


def test_values_of_a_parent_chart_pass(render: Any) -> None:
    assert render({"global": {"imageRegistry": "x"}}).ok
