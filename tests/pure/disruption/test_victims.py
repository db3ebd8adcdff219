"""Whom a scale-down takes."""

from __future__ import annotations

from dataclasses import replace

from scenes import NOW, worker

from inferfleet.disruption import Victims, choose_victims
from inferfleet.values import CapacityType, EngineSample, OfferKey


def test_victims_are_the_unready_then_the_least_busy_then_the_dear_then_the_risky_then_the_young() -> None:
    spot = OfferKey("pool", CapacityType.SPOT)
    made = {
        "unready": worker("unready", ready=False),
        "idle": worker("idle"),
        "young": worker("young", created_at=500.0),
        "busy": worker("busy"),
        "silent": worker("silent"),
        "old revision": worker("old revision", revision="old"),
        "cheap": replace(worker("cheap"), offer=spot),
    }
    samples = {
        name: EngineSample(name, NOW, 0, 0, in_flight=5 if name == "busy" else 0)
        for name in made
        if name not in {"unready", "silent"}
    }
    victims = Victims(
        surplus={CapacityType.ON_DEMAND: 9, CapacityType.SPOT: 9},
        samples=samples,
        price=lambda offer: 0.3 if offer == spot else 1.0,
        revision="new",
    )
    chosen = [victim.name for victim in choose_victims(list(made.values()), victims)]
    assert chosen == ["unready", "old revision", "young", "idle", "cheap", "busy", "silent"]
    two = replace(victims, surplus={CapacityType.SPOT: 1})
    assert [victim.name for victim in choose_victims(list(made.values()), two)] == ["cheap"]


def test_of_equal_victims_the_one_goes_whose_zone_has_most() -> None:
    made = [
        replace(worker(name), offer=OfferKey("p", CapacityType.SPOT, zone))
        for name, zone in (("w1", "a"), ("w2", "b"), ("w3", "b"), ("w4", "b"))
    ]
    chosen = choose_victims(made, Victims(surplus={CapacityType.SPOT: 3}))
    assert [victim.offer.zone for victim in chosen] == ["b", "b", "a"]
