"""How long the local cluster takes to start, step by step, as its own `up` recorded it.

Every successful `up` appends its step times to `starts.jsonl` in the state folder. A start is cold when it
built something (programs, images, packages), warm when all was in the cache and there was no cluster, and
again when there was one. `--measure` takes a cluster down and up first.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferfleet_local import cluster
from inferfleet_local.progress import STARTS, Progress
from inferfleet_local.state import Flavour, places


@dataclass(frozen=True, slots=True)
class Start:
    """One recorded start."""

    at: str
    cluster: str
    flavour: str
    nodes: int
    fresh: bool
    built: tuple[str, ...]
    steps: dict[str, float]
    total_seconds: float

    @property
    def kind(self) -> str:
        """Cold, warm or again."""
        if self.built:
            return "cold"
        return "warm" if self.fresh else "again"


def read(log: Path) -> list[Start]:
    """Return the recorded starts, oldest first."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [parse(json.loads(line)) for line in lines]


def parse(raw: dict[str, Any]) -> Start:
    """Parse one line of the log."""
    return Start(**{**raw, "built": tuple(raw["built"])})


def latest(starts: list[Start]) -> list[Start]:
    """Return the last start of each flavour and kind."""
    found = {(start.flavour, start.kind): start for start in starts}
    return [found[key] for key in sorted(found)]


def measure(flavour: Flavour, nodes: int | None, name: str) -> None:
    """Take a cluster down and up, so that a warm start is on record."""
    where = places(name)
    cluster.down(where, Progress())
    cluster.up(where, flavour, Progress(), nodes=nodes, images=())


def main() -> None:
    """Print the last start of each kind."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--measure", type=Flavour, choices=list(Flavour), help="start a cluster of this flavour"
    )
    options.add_argument("--nodes", type=int)
    options.add_argument("--name", help="the cluster that --measure takes down and up")
    chosen = options.parse_args()
    if chosen.measure:
        measure(chosen.measure, chosen.nodes, chosen.name or cluster.DEFAULT_NAMES[chosen.measure])
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"machine: {os.cpu_count()} cores, {memory_gib:.0f} GiB")
    for start in latest(read(places("any").state_root / STARTS)):
        built = f", built {', '.join(start.built)}" if start.built else ""
        print(f"\n{start.flavour}, {start.kind}: {start.total_seconds:.1f} s ({start.nodes} nodes{built})")
        for step, seconds in start.steps.items():
            print(f"  {seconds:8.1f} s  {step}")


if __name__ == "__main__":
    main()
