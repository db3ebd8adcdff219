"""Single runs, kept on disk by what they depend on, so that a change of one law does not run all the others."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from cases import Case

import inferfleet
from inferfleet.simulate.policy import Factory
from inferfleet.simulate.run import Outcome, simulate

SOURCES = Path(inferfleet.__file__).parent
WORLD = ("simulate", "planning", "values/layout.py", "values/model.py", "values/hardware.py")
OPERATOR = ("scaling", "capacity", "disruption", "values", "reconcile.py", "supply.py", "layouts.py")


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
    return sorted(
        path
        for part in parts
        for path in ([SOURCES / part] if part.endswith(".py") else (SOURCES / part).rglob("*.py"))
    )


def run(
    case: Case, policy: Factory | None, key: str, seed: int, *, train: bool = False, keep: Path
) -> Outcome:
    """One run of a policy, None being ours; from disk if it ran before with the same code."""
    code = fingerprint(*WORLD, *(OPERATOR if policy is None else ()))
    path = keep / f"{case.name}-{'train' if train else 'judge'}-{key}-{seed}-{code}.pickle"
    if path.exists():
        found = pickle.loads(path.read_bytes())  # noqa: S301 - written below
        assert isinstance(found, Outcome)
        return found
    scenario = case.scenarios[0 if train else 1]
    outcome = simulate(scenario, policy, seed)
    keep.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(outcome))
    return outcome
