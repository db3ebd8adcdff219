"""The price list: which prices it states, and what it may not say."""

from __future__ import annotations

import pytest

from inferfleet.api import SpecError, read_prices
from inferfleet.capacity import with_prices
from inferfleet.values import Accelerator, CapacityType, Offer, Pool, Price

SPOT, OD = CapacityType.SPOT, CapacityType.ON_DEMAND
LIST = """
asOf: 2026-11-01
perGpuHour:
  L4: {onDemand: 0.71, spot: 0.28, zones: {b: {spot: 0.2}}}
  H100: {reserved: 2.5}
"""


def config_map(text: str) -> dict[str, object]:
    return {"metadata": {"name": "inferfleet-prices"}, "data": {"prices.yaml": text}}


def test_a_price_list_is_read() -> None:
    assert read_prices(config_map(LIST)) == (
        Price("H100", CapacityType.RESERVED, 2.5, "", "2026-11-01"),
        Price("L4", SPOT, 0.28, "", "2026-11-01"),
        Price("L4", OD, 0.71, "", "2026-11-01"),
        Price("L4", SPOT, 0.2, "b", "2026-11-01"),
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "asOf: today", "asOf: 2026-11-01\nperGpuHour: {L4: {spot: -1}}", "perGpuHour: {}"],
    ids=["empty", "a list", "no YAML", "no date", "a negative price", "no date at all"],
)
def test_what_is_no_price_list_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"prices\.yaml"):
        read_prices(config_map(text))


def test_stated_prices_replace_the_table_and_a_gpupool_wins() -> None:
    table = "default table of 2026-07-20"
    offers = (
        Offer("p", SPOT, "a", 0.4, table),
        Offer("p", SPOT, "b", 0.4, table),
        Offer("p", OD, "a", 0.8, "GPUPool p"),
        Offer("p", CapacityType.RESERVED, "a", 0.8, table),
    )
    pool = Pool("p", Accelerator("L4", 24 << 30, 3e11, 1e14), 1, 1, (), offers)
    (priced,) = with_prices((pool,), read_prices(config_map(LIST)))
    assert [offer.price_dollars_per_gpu_hour for offer in priced.offers] == [0.28, 0.2, 0.8, 0.8]
    assert [offer.price_source for offer in priced.offers] == [
        "price list of 2026-11-01",
        "price list of 2026-11-01",
        "GPUPool p",
        table,
    ]
    assert with_prices((pool,), ()) == (pool,)
