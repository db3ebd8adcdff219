"""One line for each step, with its time, and the same times kept for the benchmark."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferfleet_local.state import Places

STARTS = "starts.jsonl"


@dataclass(slots=True)
class Progress:
    """Prints each step when it ends and remembers how long it took."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    begun: float = field(default_factory=time.monotonic)
    step_seconds: dict[str, float] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)

    @property
    def elapsed_seconds(self) -> float:
        """Time since the command began."""
        return time.monotonic() - self.begun

    def say(self, text: str) -> None:
        """Print one line with the time since the start."""
        print(f"[{self.elapsed_seconds:6.1f} s] {text}", file=self.out, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; a step that fails says so, and the error goes on."""
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(f"{name}: FAILED after {time.monotonic() - begun:.1f} s")
            raise
        self.step_seconds[name] = round(time.monotonic() - begun, 2)
        self.say(f"{name}: {self.step_seconds[name]:.1f} s")

    def keep(self, where: Places, *, flavour: str, nodes: int, fresh: bool) -> None:
        """Append this start to the list of starts, which outlives the cluster.

        Args:
            where: The cluster.
            flavour: Its flavour.
            nodes: How many nodes it has.
            fresh: Whether there was no cluster before.
        """
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cluster": where.name,
            "flavour": flavour,
            "nodes": nodes,
            "fresh": fresh,
            "built": self.built,
            "steps": self.step_seconds,
            "total_seconds": round(self.elapsed_seconds, 2),
        }
        with (where.state_root / STARTS).open("a") as log:
            log.write(json.dumps(line) + "\n")
