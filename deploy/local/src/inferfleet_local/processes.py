"""Long-running programs of a cluster: started, recognised again by a later command, stopped.

A process is known by its number and its start time, because numbers are used again. Each also carries the
cluster's folder in its environment, so that one whose record was lost in a crash is still found.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local.errors import ClusterError
from inferfleet_local.run import environment, tail
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from inferfleet_local.state import Places

MARK = "INFERFLEET_CLUSTER"
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from a later one with the same number by its start in clock ticks since boot."""

    pid: int
    started_ticks: int

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs; a zombie does not."""
        return _started_ticks(self.pid) == self.started_ticks


def _started_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name in parentheses may hold spaces; state is field 3 and starttime field 22.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def process(pid: int) -> Process | None:
    """Identify a running process by its number."""
    ticks = _started_ticks(pid)
    return None if ticks is None else Process(pid, ticks)


def marked_environment(where: Places) -> dict[str, str]:
    """Return the environment with the mark of a cluster."""
    return {**environment(), MARK: str(where.folder)}


def start(where: Places, name: str, argv: Sequence[str | Path]) -> Process:
    """Start a program that outlives this command, unless it already runs; its output goes to its log."""
    if (running := find(where, name)) is not None:
        return running
    where.logs.mkdir(parents=True, exist_ok=True)
    log, words = where.logs / f"{name}.log", [str(word) for word in argv]
    # not subprocess.Popen, whose objects want to be waited for; the program is meant to outlive this command
    try:
        pid = os.posix_spawnp(
            words[0],
            words,
            marked_environment(where),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not on this machine") from error
    started = process(pid)
    if started is None:
        raise ClusterError(f"{name} ended at once, log {log}:\n{tail(log)}")
    write_atomically(where.folder / "processes" / f"{name}.json", json.dumps(asdict(started)))
    return started


def find(where: Places, name: str) -> Process | None:
    """Return the named process if it runs."""
    try:
        found = Process(**json.loads((where.folder / "processes" / f"{name}.json").read_text()))
    except FileNotFoundError:
        return None
    return found if found.alive else None


def all_marked(where: Places) -> list[Process]:
    """Find every process that carries the cluster's mark, recorded or not."""
    wanted = f"{MARK}={where.folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and (one := process(int(entry.name))):
                found.append(one)
    return found


def stop_marked(where: Places) -> None:
    """Kill every process of a cluster, also those that another one starts meanwhile."""
    while found := all_marked(where):
        stop(found, grace_seconds=0)


def stop(processes: Iterable[Process], *, grace_seconds: float = 5) -> None:
    """End processes: first asked, then killed.

    Raises:
        ClusterError: One is still there after it was killed.
    """
    rest = [one for one in processes if one.alive]
    if grace_seconds:
        rest = _signal(rest, signal.SIGTERM, grace_seconds)
    rest = _signal(rest, signal.SIGKILL, 10)
    if rest:
        raise ClusterError(f"processes {[one.pid for one in rest]} survive SIGKILL")


def _signal(processes: Sequence[Process], number: signal.Signals, timeout_seconds: float) -> list[Process]:
    for one in processes:
        with suppress(ProcessLookupError):
            os.kill(one.pid, number)
    await_true(lambda: not any(map(_still_there, processes)), timeout_seconds=timeout_seconds)
    return [one for one in processes if one.alive]


def _still_there(one: Process) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(one.pid, os.WNOHANG)
    return one.alive


def await_true(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Ask again and again until the answer is yes or the time is over; return the last answer."""
    deadline = time.monotonic() + timeout_seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return answer
