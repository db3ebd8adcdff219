"""How many replicas of each capacity type: base, share, over-provision, fallback and the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from inferfleet.capacity.offers import Market
from inferfleet.values import CapacitySpec, CapacityType, OfferKey, Worker
from inferfleet.values.remembered import remembered


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


def mix(
    target: int,
    spec: CapacitySpec,
    staying: tuple[Worker, ...],
    market: Market,
    suspected: Collection[OfferKey],
) -> Mix:
    """Divide `target` replicas over the types.

    What is reserved is paid for, so it comes first and counts towards the base. Above the on-demand base the
    spot share holds; the over-provision comes on top. READY spot counts, not asked-for spot: within the hold
    after a loss on-demand is bought for all that is not Ready, and each that is Ready sends one home, then
    and later. Meanwhile spot is asked for wherever the market invites it. `suspected` are the offers where
    one was interrupted minutes ago: the others there are likely to follow, and are covered as well.
    """
    nominal = _nominal(target, spec, staying, market)
    full = _with_extra(nominal, spec, staying, market)
    if not (nominal.spot and market.is_hedged):
        return full
    spot = [worker for worker in staying if worker.offer.capacity_type is CapacityType.SPOT]
    asked = min(full.spot, len(spot) + sum(map(market.invited, market.of(CapacityType.SPOT))))
    missing = max(0, nominal.spot - sum(worker.ready for worker in spot))
    on_demand = sum(worker.offer.capacity_type is CapacityType.ON_DEMAND for worker in staying)
    standing_in = max(0, on_demand - nominal.on_demand)
    covered = max(min(standing_in, missing), nominal.spot - asked)
    if market.is_short:
        suspects = sum(worker.ready and worker.offer in suspected for worker in spot)
        had = max(0, standing_in - missing) + market.room(CapacityType.ON_DEMAND)
        covered = min(nominal.spot, missing + min(suspects, had))
    note = f"spot is short: on-demand stands in for {covered}" if covered else nominal.note
    return Mix(nominal.reserved, asked, nominal.on_demand + covered, covered, note)


@remembered
def count_types(workers: tuple[Worker, ...]) -> Mapping[CapacityType, int]:
    """How many replicas of each type there are."""
    return Counter(worker.offer.capacity_type for worker in workers)


def _nominal(target: int, spec: CapacitySpec, staying: tuple[Worker, ...], market: Market) -> Mix:
    have = count_types(staying)
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


def _to_reserved(target: int, staying: tuple[Worker, ...], market: Market) -> int:
    """How many replicas reserved GPUs take now: what is missing, else one that is paid for elsewhere."""
    offers = (offer for offer in market.of(CapacityType.RESERVED) if not market.is_cooling(offer))
    free = sum(map(market.free_replicas, offers))
    if not free:
        return 0
    settled = all(w.ready for w in staying if w.offer.capacity_type is CapacityType.RESERVED)
    return min(free, max(target - len(staying), 1 if settled else 0, 0))


def _with_extra(nominal: Mix, spec: CapacitySpec, staying: tuple[Worker, ...], market: Market) -> Mix:
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
