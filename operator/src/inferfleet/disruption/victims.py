"""Whom a scale-down takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from inferfleet.values import CapacityType, EngineSample, OfferKey, Worker


@dataclass(frozen=True, slots=True)
class Victims:
    """What the choice looks at. `surplus` is how many of each type are too many; `crowd` counts by zone."""

    surplus: Mapping[CapacityType, int]
    samples: Mapping[str, EngineSample] = field(default_factory=dict)
    price: Callable[[OfferKey], float] = lambda _offer: 0.0
    risk: Callable[[OfferKey], float] = lambda _offer: 0.0
    revision: str | None = None
    crowd: Mapping[str, int] = field(default_factory=dict)


Key = Callable[[Worker, Victims], float]


def _ready(worker: Worker, _victims: Victims) -> float:
    """What does not serve yet goes before what does."""
    return worker.ready


def _in_flight(worker: Worker, victims: Victims) -> float:
    """The least work to wait for; one that is not heard counts as busy."""
    sample = victims.samples.get(worker.name)
    if sample is None:
        return float("inf") if worker.ready else 0.0
    return max(sample.in_flight, sample.running + sample.waiting)


def _newer_revision(worker: Worker, victims: Victims) -> float:
    """What a rollout would replace anyway goes first."""
    return worker.revision == victims.revision


def _cheapness(worker: Worker, victims: Victims) -> float:
    """The dearer first."""
    return -victims.price(worker.offer)


def _safety(worker: Worker, victims: Victims) -> float:
    """Where losses were, more are to come."""
    return -victims.risk(worker.offer)


def _crowding(worker: Worker, victims: Victims) -> float:
    """Where most of them are, one less leaves them spread best."""
    return -victims.crowd[worker.offer.zone]


def _age(worker: Worker, _victims: Victims) -> float:
    """The youngest has the coldest cache."""
    return -worker.created_at


KEYS: tuple[Key, ...] = (_ready, _in_flight, _newer_revision, _cheapness, _safety, _crowding, _age)


def choose_victims(workers: Sequence[Worker], victims: Victims) -> tuple[Worker, ...]:
    """The workers that are too many, best victim first. Whoever leaves already is not among `workers`."""
    left, rest = Counter(victims.surplus), list(workers)
    chosen: list[Worker] = []
    while candidates := [worker for worker in rest if left[worker.offer.capacity_type] > 0]:
        looked_at = replace(victims, crowd=Counter(worker.offer.zone for worker in rest))
        victim = min(candidates, key=partial(_order, looked_at))
        left[victim.offer.capacity_type] -= 1
        rest.remove(victim)
        chosen.append(victim)
    return tuple(chosen)


def _order(victims: Victims, worker: Worker) -> tuple[tuple[float, ...], str]:
    """The lowest goes first."""
    return tuple(key(worker, victims) for key in KEYS), worker.name
