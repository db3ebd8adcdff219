"""The two CustomResourceDefinitions, generated from the models."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from inferfleet.api.deployment import InferenceDeployment
from inferfleet.api.gpupool import GPUPool
from inferfleet.api.resource import Resource
from inferfleet.api.schema import structural
from inferfleet.values import labels


class Column(NamedTuple):
    """A column of `kubectl get`. Those with a priority above 0 show only with `-o wide`."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0


DEPLOYMENT_COLUMNS: Final = (
    Column("Model", "string", ".status.model", "The model."),
    Column("Plan", "string", ".status.plan.summary", "GPU and parallelism of a replica."),
    Column("Ready", "integer", ".status.readyReplicas", "Replicas in service."),
    Column("Desired", "integer", ".status.desiredReplicas", "Replicas wanted."),
    Column("Spot", "integer", ".status.spotReadyReplicas", "Replicas in service on spot."),
    Column("Queue", "integer", ".status.queue", "Waiting requests."),
    Column("Tok/s", "integer", ".status.tokensPerSecond", "Measured tokens per second."),
    Column("$/h", "number", ".status.cost.dollarsPerHour", "Cost of all replicas per hour."),
    Column("$/Mtok", "number", ".status.cost.dollarsPerMillionTokens", "Cost of a million tokens."),
    Column("Status", "string", ".status.state", "The deployment in one word."),
    Column("Age", "date", ".metadata.creationTimestamp", "Time since it was made."),
    Column("Why", "string", ".status.conditions[?(@.type=='Ready')].message", "Why that status.", 1),
)

POOL_COLUMNS: Final = (
    Column("Accelerator", "string", ".status.accelerator", "GPU model."),
    Column("Nodes", "integer", ".status.nodes", "Schedulable nodes."),
    Column("GPUs", "integer", ".status.gpus", "GPUs on them."),
    Column("Free", "integer", ".status.free", "GPUs that nobody has asked for."),
    Column("Max nodes", "integer", ".spec.maxNodes", "Most nodes.", 1),
    Column("Spot $/GPU/h", "number", ".spec.pricePerGpuHour.spot", "Price of spot."),
    Column("On-demand $/GPU/h", "number", ".spec.pricePerGpuHour.onDemand", "Price on demand."),
    Column("Age", "date", ".metadata.creationTimestamp", "Time since it was made."),
)

SCALE: Final = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


def definitions() -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions, ready to be applied."""
    return [
        _definition(
            InferenceDeployment,
            plural="inferencedeployments",
            short="infd",
            scope="Namespaced",
            columns=DEPLOYMENT_COLUMNS,
            subresources={"status": {}, "scale": dict(SCALE)},
        ),
        _definition(
            GPUPool,
            plural="gpupools",
            short="gpup",
            scope="Cluster",
            columns=POOL_COLUMNS,
            subresources={"status": {}},
        ),
    ]


def _definition(
    resource: type[Resource],
    *,
    plural: str,
    short: str,
    scope: str,
    columns: tuple[Column, ...],
    subresources: dict[str, Any],
) -> dict[str, Any]:
    kind = resource.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{labels.GROUP}",
            "labels": {"app.kubernetes.io/name": "inferfleet", "app.kubernetes.io/part-of": "inferfleet"},
        },
        "spec": {
            "group": labels.GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["inferfleet"],
            },
            "versions": [
                {
                    "name": labels.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [_column(column) for column in columns],
                    "schema": {"openAPIV3Schema": root_schema(resource)},
                }
            ],
        },
    }


def root_schema(resource: type[Resource]) -> dict[str, Any]:
    """Return the schema of a whole resource; its metadata is the API server's own."""
    schema = structural(resource)
    properties = schema["properties"]
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    _without_defaults(properties["status"])
    return {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "x-kubernetes-validations": schema["x-kubernetes-validations"],
        "properties": properties,
    }


def _without_defaults(schema: dict[str, Any]) -> None:
    """Take defaults and required fields out: a status is written whole, and older ones must stay valid."""
    schema.pop("default", None)
    for child in schema.get("properties", {}).values():
        _without_defaults(child)
        child.pop("required", None)
    if "items" in schema:
        _without_defaults(schema["items"])
        schema["items"].pop("required", None)
        if keys := schema.get("x-kubernetes-list-map-keys"):
            schema["items"]["required"] = list(keys)


def _column(column: Column) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    if column.priority:
        rendered["priority"] = column.priority
    return rendered
