"""Default prices: dollars per GPU and hour, dated, replaced by what a GPUPool states.

On-demand AWS: aws/karpenter-provider-aws, generated price list of 2026-07-20 for us-east-1. Spot AWS and
all of GCP: skypilot-org/skypilot-catalog v7 (spot taken before the price cut of June 2025: the middle of
the zones). They are there to rank, not to bill: clouds cut single GPUs by 40 % between two snapshots.

No source is recorded for the on-demand prices of V100-32GB, L4 in nodes of several, A100-80GB-PCIe, H100-NVL
and MI300X: orders of magnitude, to be replaced by a GPUPool's. A spot price that is not listed is a share of
the on-demand one (`_SPOT_SHARE`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from inferfleet.planning.candidates import Candidate
from inferfleet.values import CapacityType, DeploymentSpec

AS_OF: Final = "2026-07-20"
SOURCE: Final = f"default table of {AS_OF}"

# accelerator -> (GPUs per instance or None for any other, on-demand, spot; 0 where no source lists one)
_TABLE: Final = MappingProxyType(
    {
        "T4": ((None, 0.526, 0.193),),
        "V100": ((None, 3.06, 0.643),),
        "V100-32GB": ((None, 3.90, 0.0),),
        "A10G": ((1, 1.006, 0.0), (None, 1.418, 0.591)),
        "L4": ((1, 0.8048, 0.410), (None, 1.15, 0.0)),
        "L40S": ((1, 1.861, 0.0), (None, 2.623, 0.0)),
        "RTX-PRO-6000": ((None, 3.363, 0.0),),
        "A100-40GB": ((1, 3.673, 1.443), (None, 2.745, 0.919)),
        "A100-80GB": ((None, 3.431, 0.853),),
        "A100-80GB-PCIe": ((None, 3.673, 0.0),),
        "H100": ((None, 6.88, 3.207),),
        "H100-NVL": ((None, 6.98, 0.0),),
        "H200": ((None, 7.912, 2.590),),
        "B200": ((None, 14.242, 8.861),),
        "B300": ((None, 17.802, 0.0),),
        "MI300X": ((None, 6.0, 0.0),),
    }
)
# where no spot price was read: the middle of the read spot-to-on-demand ratios of one snapshot (0.17 to 0.42)
_SPOT_SHARE: Final = 0.3


def default_price(accelerator: str, gpus_per_node: int, capacity_type: CapacityType) -> float:
    """Return dollars per GPU and hour, 0.0 where no source lists the GPU; reserved costs as on-demand."""
    for count, on_demand, spot in _TABLE.get(accelerator, ()):
        if count in {None, gpus_per_node}:
            if capacity_type is CapacityType.SPOT:
                return spot or round(on_demand * _SPOT_SHARE, 3)
            return on_demand
    return 0.0


def price_per_gpu_hour(candidate: Candidate, spec: DeploymentSpec) -> float:
    """Return what a GPU of the pool costs under the spec's mix, 0.0 where no price is known.

    Reserved capacity is taken first; else the spot share at its price and the rest on demand; a kind
    without a price costs as the other.
    """
    prices: dict[CapacityType, float] = {}
    for offer in candidate.pool.offers:
        if offer.price_dollars_per_gpu_hour > 0:
            known = prices.get(offer.capacity_type, offer.price_dollars_per_gpu_hour)
            prices[offer.capacity_type] = min(known, offer.price_dollars_per_gpu_hour)
    if CapacityType.RESERVED in prices:
        return prices[CapacityType.RESERVED]
    most = max(1, spec.autoscaling.max_replicas)
    spot_share = min(1.0, spec.capacity.spot_share.of(most) / most)
    on_demand = prices.get(CapacityType.ON_DEMAND)
    spot = prices.get(CapacityType.SPOT)
    whole = _gpus_paid_for(candidate)
    if on_demand is None or spot is None:
        return whole * (on_demand or spot or 0.0)
    return whole * (spot_share * spot + (1 - spot_share) * on_demand)


def _gpus_paid_for(candidate: Candidate) -> float:
    """GPUs that are paid for each one that is used: more than that where every machine has yet to be bought.

    Who buys machines for pods does not know that two replicas could share one, so the rest of it idles: an
    eight-GPU machine for a one-GPU replica costs eight.
    """
    pool = candidate.pool
    return max(1.0, pool.gpus_per_node / candidate.split.gpus) if pool.to_be_bought else 1.0
