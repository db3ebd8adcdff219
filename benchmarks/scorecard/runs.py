"""Single runs, kept on disk by the code that they depend on: a change of ours does not run the laws again."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from cases import Case, Purpose

import inferfleet
from inferfleet.simulate.peers import LAWS
from inferfleet.simulate.policy import Factory
from inferfleet.simulate.run import Outcome, simulate
from inferfleet.simulate.scenario import Scenario

GENEROUS_DRAIN_SECONDS = 300.0
SOURCES = Path(inferfleet.__file__).parent
WORLD = ("simulate", "planning", "values/layout.py", "values/model.py", "values/hardware.py")
PEERS = "simulate/peers"
OPERATOR = ("scaling", "capacity", "disruption", "values", "reconcile.py", "supply.py", "layouts.py")


@dataclass(frozen=True, slots=True)
class Named:
    """A policy, and what it is told: `default`, or `tuned` to a target and the fewest replicas.

    A target of ours is `capacityFactor`; without one it learns what a replica takes.
    """

    policy: str
    kind: str = ""
    target: float | None = None
    floor: int = 1


@lru_cache
def fingerprint(*parts: str) -> str:
    """A hash over the source that a run depends on."""
    digest = hashlib.sha256()
    for path in files(parts):
        digest.update(path.read_bytes())
    digest.update((Path(__file__).parent / "cases.py").read_bytes())
    return digest.hexdigest()[:16]


def files(parts: Iterable[str]) -> list[Path]:
    """Python files under the parts of the package, in order."""
    found = {
        path
        for part in parts
        for path in ([SOURCES / part] if part.endswith(".py") else (SOURCES / part).rglob("*.py"))
    }
    return sorted(path for path in found if path.parent != SOURCES / PEERS or f"{PEERS}/{path.name}" in parts)


def law_parts(name: str) -> tuple[str, ...]:
    """What one law depends on beside the world: its own module and what all of them share."""
    module = LAWS[name].make.__module__.rpartition(".")[2]
    return tuple(f"{PEERS}/{each}.py" for each in ("signals", "hpa", module))


def run(case: Case, who: Named, seed: int, purpose: Purpose, keep: Path) -> Outcome:
    """One run of ours or of a law; from disk if it ran before with the same code."""
    code = fingerprint(*WORLD, *(law_parts(who.policy) if who.policy in LAWS else OPERATOR))
    path = (
        keep
        / f"{case.name}-{purpose}-{who.policy}-{who.target or 'default'}-{who.floor}-{seed}-{code}.pickle"
    )
    scenario = scenario_of(who, case.scenarios[purpose])
    return kept(path, lambda: simulate(scenario, factory_of(who), seed))


def scenario_of(who: Named, scenario: Scenario) -> Scenario:
    """What is run: the bounds are the deployment's, whoever scales it."""
    factor = None if who.policy in LAWS else who.target
    autoscaling = replace(scenario.spec.autoscaling, min_replicas=who.floor, capacity_factor=factor)
    return replace(scenario, spec=replace(scenario.spec, autoscaling=autoscaling))


def factory_of(who: Named) -> Factory | None:
    """A law with its defaults; or with a target of its own, and a drain that loses nothing; None for ours."""
    law = LAWS.get(who.policy)
    if law is None:
        return None
    return law.make if who.target is None else law.tuned(who.target, GENEROUS_DRAIN_SECONDS)


def kept(path: Path, make: Callable[[], Outcome]) -> Outcome:
    """What is on disk, else what is made, and then kept."""
    if path.exists():
        found = pickle.loads(path.read_bytes())  # noqa: S301 - written below
        assert isinstance(found, Outcome)
        return found
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(made))
    return made
