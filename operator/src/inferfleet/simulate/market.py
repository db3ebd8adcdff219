"""Spot capacity that comes and goes by zone, with the statistics that were published of it.

Fitted by hand to the SkyPilot V100 spot traces (9 zones of three regions, 45 days). A zone has spot while the
pressure on it is below a limit, which its share of the time sets. Pressure is normally distributed, in part
the region's and in part the zone's own; each part is the sum of a level that changes about once a day and of
one that changes within the hour. So shares are kept, zones go together, spells are short or very long.

    region of the traces            published                        this model, 1,000 days
    us-west-2, 3 zones              any 96, two 92, all 80 %         any 97, two 91, all 80 %
    us-east-2, 2 zones              any 81 %                         any 83 %
    us-east-1, 4 zones              any 71 %                         any 71 %
    uninterrupted spell, h          median 0.3-1.4, mean 0.7-10.4    median 0.5-1.7, mean 0.9-6.6
    correlation of two zones        0.43                             0.41-0.49
    other zone lost within 3.3 min  20 %                             21-25 %

Of four nodes, 22 to 50 % of the losses took two or more; of what is lost at once, over 92 % goes within 3
minutes (arXiv 2604.16457). The tests measure it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf, sqrt
from random import Random
from statistics import NormalDist
from typing import Final

from inferfleet.simulate.clock import Clock

_REGIONS_PART: Final = 0.7
"""Of the variance of the pressure on a zone: this makes zones go together."""

_REGION: Final = ""
_REGION_SECONDS: Final = (24 * 3600.0, 3600.0)
_ZONE_SECONDS: Final = (24 * 3600.0, 1800.0)
"""How long a level lasts on average."""

_WHOLE_ZONE: Final = 0.3
_AT_ONCE_SECONDS: Final = 180.0
_TRICKLE_SECONDS: Final = 600.0
"""That share of outages takes all nodes at once; in the others each goes after so long on average."""


class SpotMarket:
    """The zones of one region. `outage(zone)` is called when one goes down."""

    def __init__(
        self, availability: Mapping[str, float], clock: Clock, rng: Random, outage: Callable[[str], None]
    ) -> None:
        """Draw the first levels. What nobody else draws from `rng` makes the same market in every run."""
        self._clock, self._rng, self._outage = clock, rng, outage
        self._limits = {zone: _limit(share) for zone, share in sorted(availability.items())}
        self._levels: dict[tuple[str, float], float] = {}
        for place, spans in ((_REGION, _REGION_SECONDS), *((zone, _ZONE_SECONDS) for zone in self._limits)):
            for span in spans:
                self._draw(place, span)
        self._up = {zone: self._is_below(zone) for zone in self._limits}
        self._at_once: dict[str, bool] = {}

    def is_available(self, zone: str) -> bool:
        """True if a spot node can be had, and kept, in the zone now; zones that are not listed always are."""
        return self._up.get(zone, True)

    def seconds_to_loss(self, zone: str, rng: Random) -> float:
        """How long after the outage began one of the zone's nodes gets its notice."""
        if self._at_once[zone]:
            return rng.uniform(0, _AT_ONCE_SECONDS)
        return rng.expovariate(1 / _TRICKLE_SECONDS)

    def _draw(self, place: str, span: float) -> None:
        """Draw a level of the region or of a zone, and when it changes."""
        self._levels[place, span] = self._rng.gauss(0, 1)
        self._clock.call(self._rng.expovariate(1 / span), partial(self._change, place, span))

    def _change(self, place: str, span: float) -> None:
        self._draw(place, span)
        for zone in self._limits if place == _REGION else (place,):
            was, self._up[zone] = self._up[zone], self._is_below(zone)
            if was and not self._up[zone]:
                self._at_once[zone] = self._rng.random() < _WHOLE_ZONE
                self._outage(zone)

    def _is_below(self, zone: str) -> bool:
        regions, own = (
            sum(self._levels[place, span] for span in spans) / sqrt(len(spans))
            for place, spans in ((_REGION, _REGION_SECONDS), (zone, _ZONE_SECONDS))
        )
        return sqrt(_REGIONS_PART) * regions + sqrt(1 - _REGIONS_PART) * own < self._limits[zone]


def _limit(share: float) -> float:
    """The pressure that is undercut for that share of the time."""
    if not 0 < share < 1:
        return inf if share else -inf
    return NormalDist().inv_cdf(share)
