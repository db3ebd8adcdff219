"""What clouds write on nodes: how a node was bought, whose it is, and what notice it gives."""

from __future__ import annotations

import pytest

from inferfleet.values import CapacityType
from inferfleet.values.well_known import (
    AWS,
    AZURE,
    GCP,
    Cloud,
    cloud_of,
    read_capacity_type,
    spot_notice_seconds,
)

RESERVED, SPOT, ON_DEMAND = CapacityType.RESERVED, CapacityType.SPOT, CapacityType.ON_DEMAND


@pytest.mark.parametrize(
    ("labels", "bought"),
    [
        ({"karpenter.sh/capacity-type": "reserved"}, RESERVED),
        ({"karpenter.sh/capacity-type": "spot"}, SPOT),
        ({"karpenter.sh/capacity-type": "on-demand"}, ON_DEMAND),
        ({"eks.amazonaws.com/capacityType": "CAPACITY_BLOCK"}, RESERVED),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, SPOT),
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, ON_DEMAND),
        ({"cloud.google.com/gke-provisioning": "spot"}, SPOT),
        ({"cloud.google.com/gke-provisioning": "preemptible"}, SPOT),
        ({"cloud.google.com/gke-provisioning": "standard"}, ON_DEMAND),
        ({"cloud.google.com/gke-spot": "true"}, SPOT),
        ({"cloud.google.com/gke-preemptible": "true"}, SPOT),
        ({"kubernetes.azure.com/scalesetpriority": "spot"}, SPOT),
        ({"kubernetes.azure.com/agentpool": "gpu"}, ON_DEMAND),
        ({}, ON_DEMAND),
    ],
)
def test_a_label_says_how_a_node_was_bought(labels: dict[str, str], bought: CapacityType) -> None:
    assert read_capacity_type(labels) is bought


@pytest.mark.parametrize(
    ("keys", "zone", "cloud", "notice"),
    [
        (["karpenter.k8s.aws/instance-gpu-name"], "", AWS, 120),
        (["eks.amazonaws.com/nodegroup"], "", AWS, 120),
        (["cloud.google.com/gke-accelerator"], "", GCP, 15),
        (["kubernetes.azure.com/agentpool"], "", AZURE, 30),
        (["karpenter.azure.com/sku-family"], "", AZURE, 30),
        ([], "us-east-1a", AWS, 120),
        ([], "us-gov-west-1b", AWS, 120),
        ([], "europe-west4-b", GCP, 15),
        ([], "westeurope-2", AZURE, 30),
        (["nvidia.com/gpu.product"], "rack-7", None, 120),
    ],
)
def test_a_cloud_is_told_by_its_labels_else_by_its_zones(
    keys: list[str], zone: str, cloud: Cloud | None, notice: float
) -> None:
    assert cloud_of(keys, zone) is cloud
    assert spot_notice_seconds(keys, zone) == notice
