"""From pydantic's JSON schema to what the API server takes: an OpenAPI v3 structural schema.

Kubernetes refuses `$ref`, `anyOf` with null, `const` and `additionalProperties` beside `properties`, and
wants `exclusiveMinimum` as a flag. Nothing is lost: an optional field is simply one that is not required.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)


def structural(model: type[BaseModel]) -> Schema:
    """Return the structural schema of a model."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(source: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Return one node, its references inlined."""
    node = _merged(source, definitions)
    result: Schema = {key: node[key] for key in KEPT if key in node}
    result |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if "const" in node:
        result["enum"] = [node["const"]]
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if flag in node:
            result |= {bound: node[flag], flag: True}
    if node.get("x-kubernetes-int-or-string"):
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "items" in node:
        result["items"] = _convert(node["items"], definitions)
    if "properties" in node:
        result["properties"] = {
            name: _convert(child, definitions) for name, child in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), Mapping):
        result["additionalProperties"] = _convert(node["additionalProperties"], definitions)
    # written out in full: the API server judges a default by the rules before it fills in nested ones
    default = _compact(node.get("default"))
    if default is not None:
        result["default"] = default
    return result


def _compact(default: Any) -> Any:
    """Return a default without what it leaves out; None for an empty one, which need not be written."""
    if isinstance(default, Mapping):
        kept = {key: _compact(value) for key, value in default.items()}
        return {key: value for key, value in kept.items() if value is not None} or None
    return None if default == [] else default


def _merged(source: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Return a node with its reference followed, and `X or null` as X; what stands beside them wins."""
    node = dict(source)
    if node.get("x-kubernetes-int-or-string"):
        node.pop("anyOf", None)
    if "anyOf" in node:
        choices = [choice for choice in node.pop("anyOf") if choice.get("type") != "null"]
        (only,) = choices
        node = _merged(only, definitions) | node
    if "$ref" in node:
        node = _merged(definitions[node.pop("$ref").rsplit("/", 1)[-1]], definitions) | node
    return node
