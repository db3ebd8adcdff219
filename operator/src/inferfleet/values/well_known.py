"""What Kubernetes, Karpenter and the clouds write on nodes, where more than one room reads it.

Label names are those of the projects' documentation. Notices are what ordinary pods get of one: AWS promises
two minutes, Azure at least 30 s, and GKE keeps the second half of its 30 s for system pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from inferfleet.values.frozen import dataclass
from inferfleet.values.hardware import CapacityType

HOSTNAME: Final = "kubernetes.io/hostname"
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
ZONE: Final = "topology.kubernetes.io/zone"

KARPENTER_CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
KARPENTER_NODE_POOL: Final = "karpenter.sh/nodepool"
KARPENTER_GRACE_ENDS: Final = "karpenter.sh/nodeclaim-termination-timestamp"
"""Annotation of a Node and a NodeClaim: when what is left on the machine is ended."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """How the nodes of a cloud are recognised, and how long ahead it takes a spot node back."""

    name: str
    label_prefixes: tuple[str, ...]
    zone: re.Pattern[str]
    spot_notice_seconds: float


_AZURE_GEOGRAPHIES: Final = (
    "us|europe|asia|india|uk|canada|mexico|brazil|chile|japan|korea|australia|zealand|france|germany|italy|spain|"
    "austria|norway|sweden|denmark|switzerland|poland|uae|israel|qatar|africa|malaysia|indonesia|taiwan"
)

AWS: Final = Cloud(
    "aws",
    ("eks.amazonaws.com/", "karpenter.k8s.aws/", "topology.k8s.aws/"),
    re.compile(r"[a-z]{2}(-[a-z]+)+-\d[a-z]"),
    spot_notice_seconds=120.0,
)
GCP: Final = Cloud(
    "gcp", ("cloud.google.com/",), re.compile(r"[a-z]+-[a-z]+\d-[a-z]"), spot_notice_seconds=15.0
)
AZURE: Final = Cloud(
    "azure",
    ("kubernetes.azure.com/", "karpenter.azure.com/"),
    re.compile(rf"[a-z]*({_AZURE_GEOGRAPHIES})[a-z]*\d?-\d"),
    spot_notice_seconds=30.0,
)
CLOUDS: Final = (AWS, GCP, AZURE)


def cloud_of(keys: Iterable[str], zone: str = "") -> Cloud | None:
    """Return the cloud that a node belongs to, by the keys of its labels, else by its zone."""
    labels = tuple(keys)
    by_label = (cloud for cloud in CLOUDS if any(key.startswith(cloud.label_prefixes) for key in labels))
    by_zone = (cloud for cloud in CLOUDS if cloud.zone.fullmatch(zone))
    return next(by_label, None) or next(by_zone, None)


def spot_notice_seconds(keys: Iterable[str], zone: str = "") -> float:
    """Return what ordinary pods get of a spot notice; that of AWS where the cloud cannot be told."""
    return (cloud_of(keys, zone) or AWS).spot_notice_seconds


@dataclass(frozen=True, slots=True)
class CapacityLabel:
    """One cloud's way to say how a node is bought: this key with one of these values."""

    key: str
    values: tuple[str, ...]
    capacity_type: CapacityType


CAPACITY_LABELS: Final = (
    CapacityLabel(KARPENTER_CAPACITY_TYPE, ("reserved",), CapacityType.RESERVED),
    CapacityLabel(KARPENTER_CAPACITY_TYPE, ("spot",), CapacityType.SPOT),
    CapacityLabel(KARPENTER_CAPACITY_TYPE, ("on-demand",), CapacityType.ON_DEMAND),
    CapacityLabel("eks.amazonaws.com/capacityType", ("CAPACITY_BLOCK",), CapacityType.RESERVED),
    CapacityLabel("eks.amazonaws.com/capacityType", ("SPOT",), CapacityType.SPOT),
    CapacityLabel("eks.amazonaws.com/capacityType", ("ON_DEMAND",), CapacityType.ON_DEMAND),
    CapacityLabel("cloud.google.com/gke-provisioning", ("spot", "preemptible"), CapacityType.SPOT),
    CapacityLabel("cloud.google.com/gke-provisioning", ("standard",), CapacityType.ON_DEMAND),
    CapacityLabel("cloud.google.com/gke-spot", ("true",), CapacityType.SPOT),
    CapacityLabel("cloud.google.com/gke-preemptible", ("true",), CapacityType.SPOT),
    CapacityLabel("kubernetes.azure.com/scalesetpriority", ("spot",), CapacityType.SPOT),
)

_KINDS_BY_KEY: Final = {
    key: {
        value.lower(): label.capacity_type
        for label in CAPACITY_LABELS
        if label.key == key
        for value in label.values
    }
    for key in dict.fromkeys(label.key for label in CAPACITY_LABELS)
}


def read_capacity_type(labels: Mapping[str, str]) -> CapacityType:
    """Return how a node is bought; on-demand where nothing says otherwise (own machines too)."""
    for key, kinds in _KINDS_BY_KEY.items():
        value = labels.get(key)
        if value is not None and value.lower() in kinds:
            return kinds[value.lower()]
    return CapacityType.ON_DEMAND
