"""The optional objects around the workers: Service extras, InferencePool, HTTPRoute, PodMonitor."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from inferfleet.api.resource import Duration, Part, Rule, validated

ObjectName = Annotated[str, Field(min_length=1, max_length=253)]


class FailureMode(StrEnum):
    """What a gateway does while the endpoint picker does not answer."""

    FAIL_OPEN = "FailOpen"
    FAIL_CLOSE = "FailClose"


class ServiceTemplate(Part):
    """The Service in front of the workers."""

    annotations: dict[str, str] = {}
    """Annotations for the Service."""
    labels: dict[str, str] = {}
    """Labels for the Service."""


class EndpointPicker(Part):
    """The endpoint picker that a gateway asks which worker to use."""

    name: ObjectName
    """Name of its Service."""
    port: Annotated[int, Field(ge=1, le=65535)] = 9002
    """Port of its Service."""
    failure_mode: Annotated[FailureMode, Field(strict=False)] = FailureMode.FAIL_OPEN
    """What the gateway does while the picker does not answer."""


class ParentGateway(Part):
    """A Gateway to attach to."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    """Namespace of the Gateway. Default: that of the deployment."""
    section_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None
    """Listener of the Gateway. Default: all."""


class InferencePool(Part):
    """Serve through a Gateway with the Gateway API Inference Extension."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "self.enabled || !has(self.gateways) || size(self.gateways) == 0",
                "gateways need inferencePool.enabled",
                ".gateways",
            )
        )
    )

    enabled: bool = False
    """Make an InferencePool of the workers."""
    endpoint_picker: EndpointPicker | None = None
    """The endpoint picker. Default: the gateway's own balancing."""
    gateways: Annotated[list[ParentGateway], Field(max_length=16)] = []
    """Gateways to attach an HTTPRoute to. Default: no HTTPRoute is made."""
    hostnames: Annotated[list[ObjectName], Field(max_length=16)] = []
    """Host names of the HTTPRoute. Default: those of the Gateway."""
    request_timeout: Duration = "10m"
    """Longest request, streaming included, that the gateway allows."""


class PodMonitorTemplate(Part):
    """A PodMonitor of the Prometheus operator."""

    enabled: bool = False
    """Make a PodMonitor."""
    interval: Duration = "15s"
    """Time between scrapes."""
    labels: dict[str, str] = {}
    """Labels that your Prometheus selects PodMonitors by."""


class Monitoring(Part):
    """How others watch the engines; the operator's own scraping needs none of it."""

    pod_monitor: PodMonitorTemplate = PodMonitorTemplate()
    """A PodMonitor for the engines and workers."""
