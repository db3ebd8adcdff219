"""Where each kind of object lives on the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inferfleet.values import labels


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object: its API group (empty for core), version and plural."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The path of one object, or of the collection; of all namespaces without one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = [
            root + scope,
            self.plural,
            *([name] if name else []),
            *([subresource] if subresource else []),
        ]
        return "/".join(parts)


PODS: Final = Resource("", "v1", "Pod", "pods")
NODES: Final = Resource("", "v1", "Node", "nodes", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
SERVICES: Final = Resource("", "v1", "Service", "services")
CONFIG_MAPS: Final = Resource("", "v1", "ConfigMap", "configmaps")
SECRETS: Final = Resource("", "v1", "Secret", "secrets")
LEASES: Final = Resource("coordination.k8s.io", "v1", "Lease", "leases")
EVENTS: Final = Resource("events.k8s.io", "v1", "Event", "events")
CORE_EVENTS: Final = Resource("", "v1", "Event", "events")
NODE_CLAIMS: Final = Resource("karpenter.sh", "v1", "NodeClaim", "nodeclaims", namespaced=False)
NODE_POOLS: Final = Resource("karpenter.sh", "v1", "NodePool", "nodepools", namespaced=False)
DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
DEPLOYMENTS: Final = Resource(labels.GROUP, labels.VERSION, "InferenceDeployment", "inferencedeployments")
GPU_POOLS: Final = Resource(labels.GROUP, labels.VERSION, "GPUPool", "gpupools", namespaced=False)

# Kinds that the operator may render; those outside Kubernetes itself exist only where their CRD is installed.
RENDERED: Final = (
    PODS,
    SERVICES,
    CONFIG_MAPS,
    DISRUPTION_BUDGETS,
    Resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    Resource("inference.networking.k8s.io", "v1", "InferencePool", "inferencepools"),
    Resource("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
)

_BY_KIND: Final = {resource.kind: resource for resource in RENDERED}


def resource_of_kind(kind: str) -> Resource:
    """The resource of a kind that the operator renders; KeyError for any other."""
    return _BY_KIND[kind]


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """The resource that a rendered manifest belongs to; KeyError for a kind or version never rendered."""
    resource = _BY_KIND.get(manifest["kind"])
    if resource is None or resource.api_version != manifest["apiVersion"]:
        raise KeyError(f"{manifest['apiVersion']} {manifest['kind']}")
    return resource
