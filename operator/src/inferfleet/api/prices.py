"""The optional ConfigMap with the prices that you pay, in place of the default table of list prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import yaml
from pydantic import Field, ValidationError

from inferfleet.api.gpupool import Prices
from inferfleet.api.resource import Part, SpecError
from inferfleet.values import CapacityType, Price

PRICE_LIST: Final = "inferfleet-prices"
PRICES_KEY: Final = "prices.yaml"


class GpuPrices(Prices):
    """Prices of one GPU model, with those that differ by zone."""

    zones: dict[str, Prices] = {}


class PriceList(Part):
    """What `prices.yaml` holds. A date tells readers of a status how old a price is."""

    as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    per_gpu_hour: dict[str, GpuPrices] = {}

    def to_values(self) -> tuple[Price, ...]:
        """All prices, those of a zone beside those for any."""
        return tuple(
            Price(gpu, capacity_type, dollars, zone, self.as_of)
            for gpu, prices in sorted(self.per_gpu_hour.items())
            for zone, stated in (("", prices), *sorted(prices.zones.items()))
            for capacity_type, dollars in _stated(stated)
        )


def read_prices(raw: Mapping[str, Any]) -> tuple[Price, ...]:
    """The prices in a ConfigMap.

    Raises:
        SpecError: for anything that is no price list.
    """
    try:
        text = raw.get("data", {}).get(PRICES_KEY, "")
        # a bare date would become one; this loader makes text of everything, and nothing else
        found = yaml.load(text, Loader=yaml.BaseLoader) or {}  # noqa: S506
        return PriceList.model_validate(found, strict=False).to_values()
    except (yaml.YAMLError, ValidationError, ValueError, AttributeError) as error:
        raise SpecError("InvalidPrices", f"{PRICES_KEY}: {error}") from error


def _stated(prices: Prices) -> Iterable[tuple[CapacityType, float]]:
    known = {
        CapacityType.RESERVED: prices.reserved,
        CapacityType.SPOT: prices.spot,
        CapacityType.ON_DEMAND: prices.on_demand,
    }
    return ((bought, price) for bought, price in known.items() if price is not None)
