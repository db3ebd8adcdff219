"""Turn the mix into placements of new replicas, a surplus of old ones, and offers given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from inferfleet.capacity.mix import Mix, count_types, mix
from inferfleet.capacity.offers import Losses, Market, key_of, record_losses, usable
from inferfleet.values import (
    CapacityMemory,
    CapacitySpec,
    CapacityType,
    Offer,
    OfferKey,
    Pool,
    Reason,
    Worker,
)
from inferfleet.values.frozen import replace
from inferfleet.values.remembered import remembered

SUSPECT_SECONDS = 180.0
"""Of interruptions that come together, over nine in ten come within this time (arXiv 2604.16457)."""


@dataclass(frozen=True, slots=True)
class Need:
    """What capacity looks at. `staying` are the replicas that may count; `others` only take up room.

    `lost` are (offer, instant) pairs of replicas that an interruption takes, told again while they are seen.
    """

    target: int
    spec: CapacitySpec
    pool: Pool
    gpus_per_replica: int
    staying: tuple[Worker, ...] = ()
    others: tuple[Worker, ...] = ()
    lost: tuple[tuple[OfferKey, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one new replica goes, and why there."""

    offer: Offer
    reason: Reason


@dataclass(frozen=True, slots=True)
class Allocation:
    """`surplus` counts replicas by type that are more than wanted; `given_up` found no node in time."""

    mix: Mix
    placements: tuple[Placement, ...]
    surplus: tuple[tuple[CapacityType, int], ...]
    given_up: tuple[tuple[Worker, Reason], ...]
    memory: CapacityMemory
    problem: Reason | None = None


def allocate(need: Need, memory: CapacityMemory, now: float) -> Allocation:
    """Decide for `need.target` replicas of one revision. Asking twice in the same instant changes nothing."""
    offers = usable(need.pool, need.spec)
    denied = stuck(need.staying, need.spec, now)
    failed = [(worker.offer, worker.created_at + need.spec.fallback_after_seconds) for worker in denied]
    keep = need.spec.fallback_hold_seconds
    losses = record_losses(memory.losses, (*need.lost, *failed), now, keep)
    market = Market.open(
        offers,
        losses,
        (*need.staying, *need.others) if need.others else need.staying,
        need.gpus_per_replica,
        now,
        grows=need.pool.max_nodes is None or need.pool.nodes < need.pool.max_nodes,
        hold_seconds=need.spec.fallback_hold_seconds if need.spec.fallback else None,
    )
    given_up = tuple(
        (worker, _give_up_reason(worker)) for worker in denied if _has_better(worker, need, market)
    )
    gone = {worker.name for worker, _ in given_up}
    staying = tuple(w for w in need.staying if w.name not in gone) if gone else need.staying
    suspected = _suspected((*memory.suspected, *need.lost), now)
    wanted = mix(need.target, need.spec, staying, market, dict(suspected))
    placements = _place(wanted, staying, market)
    have = count_types(staying)
    return Allocation(
        mix=wanted,
        placements=placements,
        surplus=tuple(
            (kind, have[kind] - wanted.wanted(kind))
            for kind in CapacityType
            if have[kind] > wanted.wanted(kind)
        ),
        given_up=given_up,
        memory=replace(
            memory,
            losses=losses,
            suspected=suspected,
            spot_short_since=(memory.spot_short_since or now) if wanted.covered else None,
            targets=tuple((kind, wanted.wanted(kind)) for kind in CapacityType),
        ),
        problem=_problem(need, offers),
    )


def _suspected(interruptions: Losses, now: float) -> Losses:
    """The last interruption of each offer, while others there are likely to follow."""
    last = sorted(interruptions, key=itemgetter(1))
    return tuple(sorted((offer, at) for offer, at in dict(last).items() if now < at + SUSPECT_SECONDS))


def stuck(workers: tuple[Worker, ...], spec: CapacitySpec, now: float) -> tuple[Worker, ...]:
    """The replicas that have found no node for `fallback.after`: their offers are taken for denied."""
    return tuple(w for w in without_node(workers) if now - w.created_at >= spec.fallback_after_seconds)


@remembered
def without_node(workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
    """The replicas for which no node has room."""
    return tuple(worker for worker in workers if worker.unschedulable)


def _has_better(worker: Worker, need: Need, market: Market) -> bool:
    """True if another offer is worth trying; without one a pending replica waits where it is."""
    stable = (*market.of(CapacityType.RESERVED), *market.of(CapacityType.ON_DEMAND))
    if worker.offer.capacity_type is CapacityType.SPOT:
        candidates = (*market.of(CapacityType.SPOT), *(stable if need.spec.fallback else ()))
    else:
        candidates = stable
    return any(key_of(offer) != worker.offer and not market.is_cooling(offer) for offer in candidates)


def _give_up_reason(worker: Worker) -> Reason:
    said = worker.unschedulable.message if worker.unschedulable else "no node"
    return Reason("OfferGivenUp", f"{worker.name} found no {worker.offer.capacity_type} node: {said}")


def _place(wanted: Mix, staying: tuple[Worker, ...], market: Market) -> tuple[Placement, ...]:
    """Stable capacity first, so that the floor stands before anything else is bought."""
    have = count_types(staying)
    placements: list[Placement] = []
    for kind in (CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT):
        for _ in range(wanted.wanted(kind) - have[kind]):
            offer = market.best(filter(market.invited, market.of(kind)))
            if offer is not None:
                placements.append(Placement(offer, _place_reason(offer, wanted, market)))
                market.take(offer)
    return tuple(placements)


def _place_reason(offer: Offer, wanted: Mix, market: Market) -> Reason:
    ours = market.ours.get(key_of(offer), 0)
    where = f"{offer.capacity_type} in {offer.zone or 'any zone'}"
    message = f"{where} at ${offer.price_dollars_per_gpu_hour:g} per GPU and hour, {ours} of ours there"
    return Reason("Placed", f"{message}; {wanted.note}" if wanted.note else message)


def _problem(need: Need, offers: Sequence[Offer]) -> Reason | None:
    if offers or not need.target:
        return None
    limits = []
    if need.spec.zones:
        limits.append(f"zones {', '.join(need.spec.zones)}")
    if need.spec.max_dollars_per_gpu_hour is not None:
        limits.append(f"at most ${need.spec.max_dollars_per_gpu_hour:g} per GPU and hour")
    asked = " and ".join(limits) or "no limits"
    return Reason(
        "NoOffer",
        f"none of the {len(need.pool.offers)} offers of pool {need.pool.name} fits {asked}: "
        "widen spec.capacity.zones or spec.capacity.maxPricePerGpuHour",
    )
