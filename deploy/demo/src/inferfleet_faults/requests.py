"""What the clients wrote down, read while they write."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inferfleet_demo import traffic
from inferfleet_demo.kube import Kube, eventually
from inferfleet_demo.load import Load
from inferfleet_demo.scene import SERVICE_URL, Scene
from inferfleet_faults import clients

SCRIPTS = (Path(traffic.__file__), Path(clients.__file__))
POD = "clients"


@dataclass(frozen=True)
class Asked:
    """One request and what became of it: `finished` or `lost`. Instants are seconds since the epoch."""

    kind: str
    start: float
    end: float
    result: str
    problems: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """From asking to the last byte, with all attempts."""
        return self.end - self.start


@dataclass
class Requests:
    """All requests so far, and since when the oldest open one is open."""

    asked: list[Asked] = field(default_factory=list)
    heard_at: float = 0.0
    oldest_open: float | None = None

    def follow(self, kube: Kube) -> threading.Thread:
        """Read the clients' log for as long as they run, in the thread that is returned."""
        thread = threading.Thread(target=self._read, args=(kube,), daemon=True)
        thread.start()
        return thread

    def under_way(self, begin: float, end: float) -> list[Asked]:
        """Every request that was open in between, once all of them are over."""

        def over() -> bool | None:
            open_since = self.oldest_open
            return (self.heard_at > end and (open_since is None or open_since > end)) or None

        eventually("every request of the row answered or lost", over, seconds=240, every=0.5)
        return [one for one in self.asked if one.start <= end and one.end >= begin]

    def _read(self, kube: Kube) -> None:
        command = ("kubectl", "-n", kube.namespace, "logs", "-f", POD)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=dict(kube.environment)
        ) as process:
            for line in process.stdout or ():
                said = json.loads(line)
                if "tick" in said:
                    self.heard_at, self.oldest_open = said["tick"], said["oldest"]
                else:
                    self.asked.append(Asked(**{**said, "problems": tuple(said["problems"])}))


@contextmanager
def clients_running(scene: Scene, node_labels: dict[str, str], **counts: int) -> Iterator[Requests]:
    """Clients that ask without end, away from the nodes that go."""
    options = {"url": SERVICE_URL, "model": scene.model_name(), **counts}
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    load = Load.start(scene.kube, POD, node_labels=node_labels, arguments=tuple(flags), scripts=SCRIPTS)
    requests = Requests()
    reading = requests.follow(scene.kube)
    try:
        yield requests
    finally:
        scene.kube.kubectl("delete", "pod", load.name, "--wait=false", "--grace-period=1")
        reading.join(timeout=60)
