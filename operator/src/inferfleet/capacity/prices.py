"""Prices that the cluster states in place of the default table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inferfleet.values import CapacityType, Offer, Pool, Price

POOL_SOURCE = "GPUPool"
"""How the source of a price begins that a GPUPool states: it speaks for its own nodes, and so wins."""


def with_prices(pools: Sequence[Pool], prices: Sequence[Price]) -> tuple[Pool, ...]:
    """The pools with the stated prices: that of an offer's zone, else that for any zone."""
    if not prices:
        return tuple(pools)
    stated = {(price.accelerator, price.capacity_type, price.zone): price for price in prices}
    return tuple(
        replace(pool, offers=tuple(_priced(offer, pool.accelerator.name, stated) for offer in pool.offers))
        for pool in pools
    )


def _priced(offer: Offer, accelerator: str, stated: dict[tuple[str, CapacityType, str], Price]) -> Offer:
    exact = stated.get((accelerator, offer.capacity_type, offer.zone))
    price = exact or stated.get((accelerator, offer.capacity_type, ""))
    if price is None or offer.price_source.startswith(POOL_SOURCE):
        return offer
    source = f"price list of {price.as_of}"
    return replace(offer, price_dollars_per_gpu_hour=price.dollars_per_gpu_hour, price_source=source)
