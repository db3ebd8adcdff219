"""The generated schema: structural by the rules of Kubernetes, and in step with the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from api_server import ROOT
from click.testing import CliRunner

from inferfleet.api import GPUPool, InferenceDeployment
from inferfleet.api.crd import definitions
from inferfleet.cli.crd import crd as command

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in definitions()}


def schema(kind: str) -> dict[str, Any]:
    tree: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return tree


def nodes(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, tree
    for name, child in tree.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(tree.get(key), dict):
            yield from nodes(tree[key], f"{path}[]")


ALL = [(f"{kind}{path}", node) for kind in CRDS for path, node in nodes(schema(kind))]


@pytest.mark.parametrize(("path", "node"), ALL, ids=[path for path, _ in ALL])
def test_every_node_is_structural(path: str, node: dict[str, Any]) -> None:
    assert not {"$ref", "allOf", "oneOf", "not", "const", "title", "definitions", "$defs"} & node.keys()
    assert not ("properties" in node and "additionalProperties" in node), path
    if node.get("x-kubernetes-int-or-string"):
        assert "type" not in node
    else:
        assert "anyOf" not in node
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}
    assert node.get("default", "") is not None
    for rule in node.get("x-kubernetes-validations", ()):
        assert rule["message"]


def test_every_field_is_explained() -> None:
    own = [(path, node) for path, node in ALL if path.count(".") > 1 and not path.endswith("[]")]
    assert [path for path, node in own if not node.get("description")] == []


def test_no_field_is_immutable() -> None:
    assert not [path for path, node in ALL if "oldSelf" in str(node.get("x-kubernetes-validations", ""))]


@pytest.mark.parametrize(("path", "node"), [(p, n) for p, n in ALL if "pattern" in n], ids=str)
def test_every_pattern_is_anchored_and_means_the_same_in_both_languages(
    path: str, node: dict[str, Any]
) -> None:
    pattern = node["pattern"]
    assert pattern.startswith("^"), path
    assert pattern.endswith("$"), path
    re.compile(pattern)
    assert "(?" not in pattern  # nothing that RE2 reads otherwise


def test_the_defaults_of_the_schema_are_those_of_the_models() -> None:
    minimal = {"metadata": {"name": "x"}, "spec": {"model": {"id": "a/b"}}}
    filled = {"metadata": {"name": "x"}, "spec": {"model": {"id": "a/b"}}}
    fill(filled["spec"], schema("InferenceDeployment")["properties"]["spec"])
    assert InferenceDeployment.parse(filled).to_values() == InferenceDeployment.parse(minimal).to_values()
    pool = {"metadata": {"name": "x"}, "spec": {"nodeSelector": {"a": "b"}}}
    assert GPUPool.parse(pool).to_values().node_labels == {"a": "b"}


def fill(value: dict[str, Any], tree: dict[str, Any]) -> None:
    """Fill in defaults as the API server does."""
    for name, child in tree.get("properties", {}).items():
        if name not in value and "default" in child:
            value[name] = child["default"]
        if isinstance(value.get(name), dict):
            fill(value[name], child)


def test_a_status_has_no_defaults_and_requires_only_the_keys_of_its_lists() -> None:
    for path, node in nodes(schema("InferenceDeployment")["properties"]["status"]):
        assert "default" not in node, path
        assert node.get("required", []) in ([], ["type"]), path


def test_the_command_prints_what_the_files_hold() -> None:
    printed = CliRunner().invoke(command, [])
    assert printed.exit_code == 0
    kept = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(yaml.safe_load_all(printed.output), key=str) == sorted(kept, key=str)
