"""Spot capacity that comes and goes by zone, with the statistics that were published of it.

Fitted by hand to the SkyPilot V100 spot traces (9 zones, 45 days): availability per zone 17 to 90 %, median
uninterrupted spell 0.3 to 1.4 h, correlation of two zones of a region 0.43, chance that another zone of the
region is lost within 3.3 minutes of a loss 20 %, and 22 to 50 % of the loss events of four nodes taking two
or more. Of what is lost at once, over 92 % goes within 3 minutes (arXiv 2604.16457). The tests measure it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from random import Random
from typing import Final

from inferfleet.simulate.clock import Clock

_SPELL_MEDIAN_SECONDS: Final = 0.9 * 3600
_SPELL_SIGMA: Final = sqrt(2 * log(2.0 / 0.9))
_MOOD_WEIGHT: Final = 1.5
_MOOD_SECONDS: Final = 36 * 3600.0
"""How strongly, and how slowly, the region's tightness stretches its outages and shortens its spells."""

_FOLLOWS_DOWN: Final = 0.12
_FOLLOWS_UP: Final = 0.3
_FOLLOW_SECONDS: Final = 198.0
"""Another zone goes the same way within so long, that often."""

_WHOLE_ZONE: Final = 0.3
_AT_ONCE_SECONDS: Final = 180.0
_TRICKLE_SECONDS: Final = 600.0
"""That share of outages takes all nodes at once; in the others each goes after so long on average."""


@dataclass(slots=True)
class _Zone:
    """`turn` numbers the zone's turns, so that one that was overtaken does not happen."""

    availability: float
    up: bool = True
    turn: int = 0
    at_once: bool = False


class SpotMarket:
    """The zones of one region. `outage(zone)` is called when one goes down."""

    def __init__(
        self, availability: Mapping[str, float], clock: Clock, rng: Random, outage: Callable[[str], None]
    ) -> None:
        """All zones begin up, as they would be for whoever has nodes there; one with share 0 never is."""
        self._clock, self._rng, self._outage = clock, rng, outage
        self._zones = {zone: _Zone(share, up=share > 0) for zone, share in sorted(availability.items())}
        self._mood, self._mood_at = rng.gauss(0, 1), 0.0
        for zone, here in self._zones.items():
            if here.availability > 0:
                self._plan(zone)

    def is_available(self, zone: str) -> bool:
        """True if a spot node can be had, and kept, in the zone now; zones that are not listed always are."""
        known = self._zones.get(zone)
        return known is None or known.up

    def seconds_to_loss(self, zone: str) -> float:
        """How long after the outage began one of the zone's nodes gets its notice."""
        if self._zones[zone].at_once:
            return self._rng.uniform(0, _AT_ONCE_SECONDS)
        return self._rng.expovariate(1 / _TRICKLE_SECONDS)

    def _plan(self, zone: str) -> None:
        """Draw how long the zone stays as it is."""
        here = self._zones[zone]
        spread, mood = self._rng.gauss(0, _SPELL_SIGMA), _MOOD_WEIGHT * self._tightness()
        seconds = _SPELL_MEDIAN_SECONDS * exp(spread - mood)
        if not here.up:
            missing = (1 - here.availability) / here.availability
            seconds = _SPELL_MEDIAN_SECONDS * missing * exp(spread + mood)
        self._later(zone, seconds, leads=True)

    def _later(self, zone: str, seconds: float, *, leads: bool) -> None:
        here = self._zones[zone]
        here.turn += 1
        turn = here.turn
        self._clock.call(seconds, lambda: self._flip(zone, leads=leads) if here.turn == turn else None)

    def _flip(self, zone: str, *, leads: bool) -> None:
        here = self._zones[zone]
        here.up = not here.up
        self._plan(zone)
        if not here.up:
            here.at_once = self._rng.random() < _WHOLE_ZONE
            self._outage(zone)
        follows = _FOLLOWS_UP if here.up else _FOLLOWS_DOWN
        for other, there in self._zones.items():
            if leads and there.availability > 0 and there.up is not here.up and self._rng.random() < follows:
                self._later(other, self._rng.uniform(0, _FOLLOW_SECONDS), leads=False)

    def _tightness(self) -> float:
        """The region's mood, an Ornstein-Uhlenbeck process of unit variance, as of now."""
        kept = exp((self._mood_at - self._clock.now) / _MOOD_SECONDS)
        self._mood = kept * self._mood + sqrt(1 - kept * kept) * self._rng.gauss(0, 1)
        self._mood_at = self._clock.now
        return self._mood
