"""The chart's values schema and README, both from the comments and defaults in `values.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class Value:
    """One documented key: its path, default, comment, and extra schema keywords. Groups have no comment."""

    path: tuple[str, ...]
    default: Any
    comment: str
    keywords: dict[str, Any]
    children: tuple[Value, ...] = field(default=())

    @property
    def documented(self) -> bool:
        """True for a value that users set as a whole."""
        return bool(self.comment)


def read(text: str) -> tuple[Value, ...]:
    """Return the tree of values with their comments.

    Raises:
        TypeError: when it is not a mapping.
        ValueError: for a key that neither has a comment nor holds keys that have one.
    """
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise TypeError("values.yaml is not a mapping")
    return tuple(_children(root, text.splitlines(), ()))


def values_schema(text: str) -> dict[str, Any]:
    """Return the JSON schema of the values: what a default says by its type, plus the @schema lines."""
    schema = _group(read(text))
    # Helm adds `global` for charts that include this one
    schema["properties"]["global"] = {"type": "object"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of InferFleet",
    } | schema


def readme(text: str, chart: dict[str, Any]) -> str:
    """Return the chart's README with a table of all values."""
    rows = "\n".join(
        f"| `{'.'.join(value.path)}` | `{json.dumps(value.default)}` | {value.comment} |"
        for value in _leaves(read(text))
    )
    command = "helm install inferfleet charts/inferfleet --namespace inferfleet-system --create-namespace"
    return (
        f"# {chart['name']}\n\n{chart['description']}. Chart {chart['version']}, "
        f"Kubernetes {chart['kubeVersion'].removesuffix('-0')}.\n\n"
        f"```sh\n{command}\n```\n\n"
        "The custom resource definitions are installed and upgraded with the chart and stay when it is "
        "uninstalled (`crds.install`, `crds.keep`). Values are checked against `values.schema.json`.\n\n"
        "This file is generated from `values.yaml` by `make gen`.\n\n"
        f"## Values\n\n| Value | Default | What it does |\n|---|---|---|\n{rows}\n"
    )


def _children(node: yaml.MappingNode, lines: list[str], path: tuple[str, ...]) -> Iterator[Value]:
    for key, child in node.value:
        here = (*path, key.value)
        comment, keywords = _comment_above(lines, key.start_mark.line)
        grouped = isinstance(child, yaml.MappingNode) and child.value and not comment
        children = tuple(_children(child, lines, here)) if grouped else ()
        if not comment and not children:
            raise ValueError(f"{'.'.join(here)} has no comment that starts with '# --'")
        loader = yaml.SafeLoader("")
        yield Value(here, loader.construct_object(child, deep=True), comment, keywords, children)


def _comment_above(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    comment: list[str] = []
    keywords: dict[str, Any] = {}
    while line > 0 and (above := lines[line - 1].strip()).startswith("#"):
        text = above.removeprefix("#").strip()
        if text.startswith("@schema"):
            keywords = json.loads(text.removeprefix("@schema"))
        else:
            comment.insert(0, text)
        line -= 1
    joined = " ".join(comment)
    return (joined.removeprefix("--").strip(), keywords) if joined.startswith("--") else ("", {})


def _group(values: tuple[Value, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {value.path[-1]: _schema(value) for value in values},
    }


def _schema(value: Value) -> dict[str, Any]:
    if not value.documented:
        return _group(value.children)
    return {"description": value.comment, "type": _type(value.default), **value.keywords}


def _type(default: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    kind = kinds[type(default)]
    return "number" if kind == "integer" and default == 0 else kind


def _leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if value.documented:
            yield value
        else:
            yield from _leaves(value.children)
