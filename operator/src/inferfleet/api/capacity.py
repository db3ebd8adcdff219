"""Where replicas may run and how they are bought, as a user writes it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from inferfleet.api.resource import CountOrPercent, Duration, Part, Rule, validated

Name = Annotated[str, Field(min_length=1, max_length=63)]
NameSet = Annotated[
    list[Name],
    Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
]


def _check_unique(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} named more than once")
    return names


UniqueNames = Annotated[NameSet, AfterValidator(_check_unique)]


class Spot(Part):
    """How much of the fleet runs on capacity that may be taken away."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "self.overprovision == 0 || self.overprovision == '0%' || "
                "!(self.share == 0 || self.share == '0%')",
                "overprovision adds spot replicas, so it needs a spot share above 0",
                ".overprovision",
            )
        )
    )

    share: CountOrPercent = 0
    """Replicas on spot: a share of those above the on-demand base, or a count."""
    overprovision: CountOrPercent = 0
    """Spot replicas above the desired number, so that losing some loses no capacity."""

    @model_validator(mode="after")
    def _overprovision_needs_a_share(self) -> Self:
        if self.overprovision not in {0, "0%"} and self.share in {0, "0%"}:
            raise ValueError("overprovision adds spot replicas, so it needs a spot share above 0")
        return self


class OnDemand(Part):
    """Capacity that stays."""

    base: CountOrPercent = 0
    """Replicas that are always on-demand: they count before the spot share does."""


class Fallback(Part):
    """What happens when spot is not to be had."""

    enabled: bool = True
    """Buy on-demand for spot that is missing."""
    after: Duration = "2m"
    """How long spot may be short before on-demand is bought. A lost node does not wait."""
    hold: Duration = "10m"
    """How long spot is left alone in a zone where it was lost or denied. Other zones are asked at once."""


class Capacity(Part):
    """Where replicas may run, and how they are bought."""

    pools: UniqueNames = []
    """Names of the pools that may serve. Default: all that fit."""
    zones: UniqueNames = []
    """Zones that may serve. Default: all."""
    spot: Spot = Spot()
    """The spot part of the fleet."""
    on_demand: OnDemand = OnDemand()
    """The on-demand part of the fleet."""
    fallback: Fallback = Fallback()
    """On-demand in place of missing spot."""
    max_price_per_gpu_hour: Annotated[float | None, Field(gt=0)] = None
    """Dollars per GPU and hour above which an offer is not taken. Default: no bound."""
