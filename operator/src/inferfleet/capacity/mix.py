"""How many replicas of each capacity type: base, share, over-provision, fallback and the way back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inferfleet.capacity.offers import Market
from inferfleet.values import CapacitySpec, CapacityType, OfferKey, Worker


@dataclass(frozen=True, slots=True)
class Mix:
    """Wanted replicas by type. `covered` of the on-demand ones stand in for spot; `note` says why."""

    reserved: int
    spot: int
    on_demand: int
    covered: int = 0
    note: str = ""

    def wanted(self, capacity_type: CapacityType) -> int:
        """The count of one type."""
        match capacity_type:
            case CapacityType.RESERVED:
                return self.reserved
            case CapacityType.SPOT:
                return self.spot
            case CapacityType.ON_DEMAND:
                return self.on_demand


SUSPECT_SHARE = 0.5
"""Of a zone's other spot replicas, this share is covered when one is interrupted there.

Of the losses in four-node pools of the published V100 traces, a third to a half took two nodes or more, and
over nine in ten that came together came within three minutes (arXiv 2604.16457).
"""


def mix(
    target: int,
    spec: CapacitySpec,
    staying: Sequence[Worker],
    market: Market,
    *,
    holding: bool,
    suspected: Collection[OfferKey] = (),
) -> Mix:
    """Divide `target` replicas over the types.

    What is reserved is paid for, so it comes first and counts towards the base. Above the on-demand base the
    spot share holds; the over-provision comes on top. While `holding` after a loss of spot, on-demand stands
    in for what is missing; after that one spot replica is tried, then as many again as are Ready, and each
    that is Ready sends one on-demand replica home. READY spot counts, not asked-for spot. `suspected` are the
    offers where one is being interrupted now: the others there are likely to follow.
    """
    nominal = _nominal(target, spec, staying, market)
    if not (spec.fallback and nominal.spot and market.of(CapacityType.ON_DEMAND)):
        return _with_extra(nominal, spec, staying, market)
    spot = [worker for worker in staying if worker.offer.capacity_type is CapacityType.SPOT]
    ready = sum(worker.ready for worker in spot)
    on_demand = sum(worker.offer.capacity_type is CapacityType.ON_DEMAND for worker in staying)
    standing_in = on_demand - nominal.on_demand
    full = _with_extra(nominal, spec, staying, market)
    if holding:
        counted = sum(_counts(worker, suspected, market) for worker in spot)
        missing = max(0, nominal.spot - counted)
        suspects = sum(worker.ready and worker.offer in suspected for worker in spot)
        had = max(0, standing_in - missing) + market.room(CapacityType.ON_DEMAND)
        covered = min(nominal.spot, missing + min(math.ceil(SUSPECT_SHARE * suspects), had))
        return _cover(nominal, min(full.spot, len(spot)), covered, "spot is short")
    if standing_in > 0 and ready < nominal.spot:
        covered = min(standing_in, nominal.spot - ready)
        needed = nominal.spot - covered
        tried = min(nominal.spot, needed + max(1, ready)) if ready >= needed else needed
        return _cover(nominal, min(full.spot, max(tried, len(spot))), covered, "spot is being tried again")
    return full


def _counts(worker: Worker, suspected: Collection[OfferKey], market: Market) -> bool:
    """Whether a spot replica counts while spot is short: one that starts where it was lost may never come."""
    return worker.ready or not (worker.offer in suspected or market.is_avoided(worker.offer))


def _nominal(target: int, spec: CapacitySpec, staying: Sequence[Worker], market: Market) -> Mix:
    have = Counter(worker.offer.capacity_type for worker in staying)
    reserved = min(target, have[CapacityType.RESERVED] + _to_reserved(target, staying, market))
    rest = target - reserved
    base = min(rest, max(0, spec.on_demand_base.of(target) - reserved))
    spot = min(rest - base, spec.spot_share.of(rest - base))
    on_demand = rest - spot
    # what is not offered now cannot be bought, but what runs of it may stay
    if spot > have[CapacityType.SPOT] and not market.of(CapacityType.SPOT):
        spot = have[CapacityType.SPOT]
        return Mix(reserved, spot, rest - spot, note="no spot is offered, on-demand serves its share")
    if on_demand > have[CapacityType.ON_DEMAND] and not market.of(CapacityType.ON_DEMAND):
        on_demand = have[CapacityType.ON_DEMAND]
        return Mix(
            reserved, rest - on_demand, on_demand, note="no on-demand is offered, spot serves its share"
        )
    return Mix(reserved, spot, on_demand)


def _to_reserved(target: int, staying: Sequence[Worker], market: Market) -> int:
    """How many replicas reserved GPUs take now: what is missing, else one that is paid for elsewhere."""
    offers = (offer for offer in market.of(CapacityType.RESERVED) if not market.is_cooling(offer))
    free = sum(map(market.free_replicas, offers))
    settled = all(w.ready for w in staying if w.offer.capacity_type is CapacityType.RESERVED)
    return min(free, max(target - len(staying), 1 if settled else 0, 0))


def _with_extra(nominal: Mix, spec: CapacitySpec, staying: Sequence[Worker], market: Market) -> Mix:
    """Add the over-provision: that many replicas, or that share of what one zone's loss would take.

    Losses come in lumps, a zone at a time, so a share is one of the fullest zone, never of the whole.
    """
    if not nominal.spot:
        return nominal
    zones = {offer.zone for offer in market.of(CapacityType.SPOT)}
    there = Counter(
        worker.offer.zone for worker in staying if worker.offer.capacity_type is CapacityType.SPOT
    )
    lump = max(-(-nominal.spot // max(1, len(zones))), min(nominal.spot, max(there.values(), default=0)))
    extra = spec.spot_overprovision.of(lump)
    return Mix(nominal.reserved, nominal.spot + extra, nominal.on_demand, note=nominal.note)


def _cover(nominal: Mix, spot: int, covered: int, note: str) -> Mix:
    on_demand = nominal.on_demand + covered
    return Mix(nominal.reserved, spot, on_demand, covered, f"{note}: on-demand stands in for {covered}")
