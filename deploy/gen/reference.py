"""The API reference, from the custom resource definitions themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

INTRODUCTION = """# API reference

Generated from the custom resource definitions by `make gen`. Every field of a spec that is not marked
required has a default, or is chosen by the planner. Durations are written `40ms`, `1.5s`, `5m` or `1h30m`;
quantities `80Gi` or `3350G`; `int or %` is a count (`1`) or a share (`"25%"`).
"""


def api_reference(crds: list[dict[str, Any]]) -> str:
    """Return the reference of all definitions as Markdown."""
    return "\n".join([INTRODUCTION, *(_resource(crd) for crd in crds)])


def _resource(crd: dict[str, Any]) -> str:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    identity = f"`{crd['spec']['group']}/{version['name']}`, {crd['spec']['scope'].lower()}"
    about = f"{identity}, short name `{names['shortNames'][0]}`. {schema['description']}"
    parts = [f"## {names['kind']}", about, _rules(schema)]
    for part in ("spec", "status"):
        tree = schema["properties"][part]
        parts += [f"### {names['kind']} {part}", tree.get("description", ""), _rules(tree)]
        parts.append(_table(tree, ""))
        parts += _sections(tree, "")
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(tree: dict[str, Any], path: str) -> Iterator[str]:
    """Return a section for every field that has fields of its own."""
    for name, child in tree.get("properties", {}).items():
        inner = child.get("items", child)
        if "properties" not in inner:
            continue
        here = f"{path}{name}" + ("[]" if "items" in child else "")
        yield f"#### `{here}`"
        if rules := _rules(inner):
            yield rules
        yield _table(inner, f"{here}.")
        yield from _sections(inner, f"{here}.")


def _table(tree: dict[str, Any], prefix: str) -> str:
    required = tree.get("required", ())
    rows = [
        f"| `{prefix}{name}` | {_type(child)}{', required' if name in required else ''} | "
        f"{_default(child)} | {child.get('description', '').replace('|', '&#124;')} |"
        for name, child in tree.get("properties", {}).items()
    ]
    return "\n".join(["| Field | Type | Default | Meaning |", "|---|---|---|---|", *rows])


def _rules(tree: dict[str, Any]) -> str:
    messages = dict.fromkeys(rule["message"] for rule in tree.get("x-kubernetes-validations", ()))
    return "\n".join(f"- {message}" for message in messages)


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "int or %"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    bounds = [
        f"{sign}{'' if schema.get(flag) else '='} {schema[bound]:,}"
        for sign, bound, flag in ((">", "minimum", "exclusiveMinimum"), ("<", "maximum", "exclusiveMaximum"))
        if bound in schema
    ]
    return " ".join([str(schema.get("type", "any")), ", ".join(bounds)]).strip()


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
