"""What the replicas cost, and what a token costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from inferfleet.capacity.offers import key_of
from inferfleet.values import OfferKey, Pool, Worker
from inferfleet.values.remembered import remembered


def price_of(offer: OfferKey, pools: Sequence[Pool]) -> float:
    """Dollars per GPU and hour; of a like offer where this one is gone, 0.0 where none has a price."""
    offers = [candidate for pool in pools if pool.name == offer.pool for candidate in pool.offers]
    exact = [o.price_dollars_per_gpu_hour for o in offers if key_of(o) == offer]
    alike = [o.price_dollars_per_gpu_hour for o in offers if o.capacity_type is offer.capacity_type]
    return next(iter(exact), max(alike, default=0.0))


def dollars_per_hour(workers: tuple[Worker, ...], pools: Sequence[Pool], gpus_per_replica: int) -> float:
    """The price of the GPUs that replicas hold, leaving ones included; a pod without a node holds none."""
    placed = _count_placed(workers).items()
    return sum(count * price_of(offer, pools) for offer, count in placed) * gpus_per_replica


@remembered
def _count_placed(workers: tuple[Worker, ...]) -> Mapping[OfferKey, int]:
    return Counter(worker.offer for worker in workers if worker.placed)


def dollars_per_million_tokens(dollars_per_hour: float, tokens_per_second: float) -> float | None:
    """What a million generated tokens cost at the present rate; None while none are generated."""
    if tokens_per_second <= 0:
        return None
    return dollars_per_hour / (tokens_per_second * 3600.0) * 1e6
