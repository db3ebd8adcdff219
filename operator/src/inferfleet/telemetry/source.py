"""Where samples come from: the workers themselves, or a Prometheus that scrapes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Never, Protocol

from inferfleet.values import EngineSample

# A worker that stays silent is asked ever more rarely: its own port answers from its first second on.
LONGEST_SILENCE_SECONDS: Final = 30.0
# The part by which pauses differ: two operators that started together must not ask together for ever.
JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A worker that runs: the deployment to wake for it, and where it is found.

    `pod` is the pod that answers. `ready` and `leaving` say how much its word matters now; a change of them
    makes no other target.
    """

    deployment: str
    worker: str
    ip: str
    pod: str = ""
    ready: bool = field(default=False, compare=False)
    leaving: bool = field(default=False, compare=False)

    @property
    def namespace(self) -> str:
        """The namespace of deployment and pod."""
        return self.deployment.split("/", 1)[0]


def samples_of(deployment: str, latest: Mapping[Target, EngineSample]) -> tuple[EngineSample, ...]:
    """Those of a deployment's workers, by worker."""
    found = (sample for target, sample in latest.items() if target.deployment == deployment)
    return tuple(sorted(found, key=lambda sample: sample.worker))


class Source(Protocol):
    """Keeps samples current, by whatever way."""

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        """The newest sample of each of a deployment's workers, by worker; none where there is no evidence."""

    async def run(self) -> Never:
        """Keep them current."""


class Newest:
    """Several sources as one: of each worker, the newest sample that any of them has."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        """The newest sample of each of a deployment's workers, by worker."""
        found = [sample for source in self._sources for sample in source.samples(deployment)]
        newest = {sample.worker: sample for sample in sorted(found, key=lambda sample: sample.at)}
        return tuple(newest[worker] for worker in sorted(newest))

    async def run(self) -> Never:
        """Keep all of them current."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.run())
        raise AssertionError("sources never end")
