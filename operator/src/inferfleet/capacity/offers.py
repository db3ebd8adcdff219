"""Offers ranked by what they did to us lately, and by what they have free."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from inferfleet.values import CapacitySpec, CapacityType, Offer, OfferKey, Pool, Worker
from inferfleet.values.remembered import remembered

LOSS_DECAY_SECONDS = 3600.0
"""A loss weighs 1/e after this long: where spot is bad, uninterrupted spells last about an hour."""

LOSS_MEMORY_SECONDS = 6 * 3600.0

SAME_LOSS_SECONDS = 60.0
"""Losses of one offer this close are one event: co-interruptions come together (arXiv 2604.16457)."""

COOLDOWN_SECONDS = 180.0
"""How long an offer is avoided after a loss: what Karpenter remembers an exhausted offering for."""

COOLDOWN_MOST_SECONDS = 1800.0

ANY_NUMBER = 1_000_000

Losses = tuple[tuple[OfferKey, float], ...]


def key_of(offer: Offer) -> OfferKey:
    """The name under which a worker remembers its offer."""
    return OfferKey(offer.pool, offer.capacity_type, offer.zone)


def usable(pool: Pool, spec: CapacitySpec) -> tuple[Offer, ...]:
    """The pool's offers that the user's zones and highest price allow."""
    return tuple(
        offer
        for offer in pool.offers
        if (not spec.zones or offer.zone in spec.zones)
        and (
            spec.max_dollars_per_gpu_hour is None
            or offer.price_dollars_per_gpu_hour <= spec.max_dollars_per_gpu_hour
        )
    )


def record_losses(
    known: Losses, new: Iterable[tuple[OfferKey, float]], now: float, keep_seconds: float
) -> Losses:
    """Add what is not yet known, forget what is too old. The same loss told twice is one."""
    losses = [loss for loss in known if loss[1] > now - max(keep_seconds, LOSS_MEMORY_SECONDS)]
    for offer, at in sorted(new):
        if not any(offer == other and abs(at - then) < SAME_LOSS_SECONDS for other, then in losses):
            losses.append((offer, at))
    return tuple(losses)


def loss_score(offer: OfferKey, losses: Losses, now: float) -> float:
    """How many losses of the offer still weigh, each decayed by its age."""
    return sum(math.exp(-max(0.0, now - at) / LOSS_DECAY_SECONDS) for key, at in losses if key == offer)


def is_cooling(offer: OfferKey, losses: Losses, now: float) -> bool:
    """True while the offer is avoided: the cooldown doubles with each loss of the last hour."""
    instants = [at for key, at in losses if key == offer]
    recent = sum(1 for at in instants if at > now - LOSS_DECAY_SECONDS)
    pause = min(COOLDOWN_MOST_SECONDS, COOLDOWN_SECONDS * 2.0 ** max(0, recent - 1))
    return bool(instants) and now < max(instants) + pause


@dataclass(slots=True)
class Market:
    """The offers during one allocation, with a ledger of what the allocation itself has taken so far.

    `hold_seconds` is how long spot is left alone where it failed, None where nothing stands in for it;
    `joined` says of each offer when the youngest of our replicas that have a node there was created.
    """

    offers: tuple[Offer, ...]
    losses: Losses
    gpus_per_replica: int
    now: float
    grows: bool = False
    hold_seconds: float | None = None
    taken: dict[OfferKey, int] = field(default_factory=dict)
    ours: dict[OfferKey, int] = field(default_factory=dict)
    joined: dict[OfferKey, float] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        offers: tuple[Offer, ...],
        losses: Losses,
        workers: tuple[Worker, ...],
        gpus_per_replica: int,
        now: float,
        *,
        grows: bool = False,
        hold_seconds: float | None = None,
    ) -> Market:
        """Count our replicas by offer; those without a node yet will take GPUs that still look free."""
        market = cls(offers, losses, gpus_per_replica, now, grows, hold_seconds)
        for offer, (there, without_node, youngest) in _census(workers).items():
            market.ours[offer] = there
            market.taken[offer] = without_node * gpus_per_replica
            market.joined[offer] = youngest
        return market

    def of(self, capacity_type: CapacityType) -> tuple[Offer, ...]:
        """The offers of one type."""
        return tuple(offer for offer in self.offers if offer.capacity_type is capacity_type)

    def free_replicas(self, offer: Offer) -> int:
        """How many replicas the offer's existing nodes have GPUs for."""
        return max(0, offer.free_gpus - self.taken.get(key_of(offer), 0)) // max(1, self.gpus_per_replica)

    def room(self, capacity_type: CapacityType) -> int:
        """How many replicas of one type may be added at once: any number where an autoscaler adds nodes."""
        offers = self.of(capacity_type)
        return ANY_NUMBER if offers and self.grows else sum(map(self.free_replicas, offers))

    @property
    def is_hedged(self) -> bool:
        """True if on-demand stands in for spot that is missing."""
        return self.hold_seconds is not None and bool(self.of(CapacityType.ON_DEMAND))

    @property
    def is_short(self) -> bool:
        """True within the hold, and at least within a cooldown, after spot was lost or denied anywhere."""
        least = self.now - max(self.hold_seconds or 0.0, COOLDOWN_SECONDS)
        return any(key.capacity_type is CapacityType.SPOT and at > least for key, at in self.losses)

    def invited(self, offer: Offer) -> int:
        """How many replicas may be asked of an offer.

        Any number, but of spot that on-demand stands in for: none within the hold after it was lost or denied
        there, then one to try it, and any number again once that one has its node.
        """
        key = key_of(offer)
        failed = max((at for other, at in self.losses if other == key), default=None)
        spot = offer.capacity_type is CapacityType.SPOT
        if not (spot and self.is_hedged) or failed is None or self.joined.get(key, 0.0) > failed:
            return ANY_NUMBER
        held = self.now < failed + (self.hold_seconds or 0.0)
        return 0 if held or self.taken.get(key) else 1

    def is_cooling(self, offer: Offer) -> bool:
        """True while the offer is avoided after a loss."""
        return is_cooling(key_of(offer), self.losses, self.now)

    def best(self, offers: Iterable[Offer]) -> Offer | None:
        """The best of `offers`: not avoided, room now, few of ours and few losses, cheap."""
        return min(offers, key=self._rank, default=None)

    def take(self, offer: Offer) -> None:
        """Write a replica into the ledger."""
        key = key_of(offer)
        self.taken[key] = self.taken.get(key, 0) + self.gpus_per_replica
        self.ours[key] = self.ours.get(key, 0) + 1

    def _rank(self, offer: Offer) -> tuple[bool, bool, float, float, str]:
        """Offers in order of wish. One recent loss weighs as much as one replica of ours already there."""
        key = key_of(offer)
        return (
            self.is_cooling(offer),
            self.free_replicas(offer) == 0,
            round(self.ours.get(key, 0) + loss_score(key, self.losses, self.now), 3),
            offer.price_dollars_per_gpu_hour,
            offer.zone,
        )


@remembered
def _census(workers: tuple[Worker, ...]) -> Mapping[OfferKey, tuple[int, int, float]]:
    """Replicas by offer, those of them without a node, and when the youngest of the others was created."""
    by_offer: defaultdict[OfferKey, list[Worker]] = defaultdict(list)
    for worker in workers:
        by_offer[worker.offer].append(worker)
    placed = {offer: [w.created_at for w in there if w.placed] for offer, there in by_offer.items()}
    return {
        offer: (len(there), len(there) - len(placed[offer]), max(placed[offer], default=0.0))
        for offer, there in by_offer.items()
    }
