"""The memory that the gates in the engine's API server processes share with the supervisor.

Each API server process writes its own ledger file, mapped into memory; the supervisor writes the control
file, which all gates map. There is one writer to a word and a word is written in one store, so no reader
ever needs a lock, and a process that is killed leaves its last count behind. A gate holds a record lock on
its ledger for as long as it lives: the kernel drops it with the process, whatever the process died of.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from enum import IntEnum
from pathlib import Path

from inferfleet_wire import Phase

LAYOUT = 0x1F_0001
"""Changes with the meaning of the words, so that a stale file is not misread."""

CONTROL_FILE = "control"
LEDGER_PATTERN = "gate-*.ledger"
_WORD_BYTES = 8
_CONTROL_BYTES = 2 * _WORD_BYTES
_PHASES = tuple(Phase)


class Word(IntEnum):
    """Which word of a ledger holds what; the totals only grow."""

    LAYOUT = 0
    PID = 1
    IN_FLIGHT = 2
    IN_FLIGHT_TOKENS = 3
    ACCEPTED = 4
    FINISHED = 5
    DISCONNECTED = 6
    REFUSED_DRAINING = 7
    REFUSED_QUEUE_FULL = 8
    LOST_ERROR = 9
    LOST_DEADLINE = 10


class Ledger:
    """A gate's own counts. The file appears under its name only once it is whole and locked."""

    def __init__(self, run_dir: Path) -> None:
        pid = os.getpid()
        name = f"gate-{pid}-{time.time_ns()}.ledger"
        draft = run_dir / f".{name}"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self._descriptor, len(Word) * _WORD_BYTES)
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        self._words = memoryview(mmap.mmap(self._descriptor, len(Word) * _WORD_BYTES)).cast("q")
        self._words[Word.LAYOUT] = LAYOUT
        self._words[Word.PID] = pid
        draft.rename(run_dir / name)

    def add(self, word: Word, amount: int = 1) -> None:
        """Change one count; the process's only event loop is the only caller."""
        self._words[word] += amount

    def __getitem__(self, word: Word) -> int:
        return self._words[word]


def read_ledger(path: Path) -> tuple[tuple[int, ...], bool] | None:
    """The words of a ledger and whether its process lives, or None where it is not a ledger of ours.

    Must run in another process than the gate's: record locks do not exclude their own process.
    """
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alive = False
        except (BlockingIOError, PermissionError):
            alive = True
        words = tuple(memoryview(file.read(len(Word) * _WORD_BYTES)).cast("q"))
    if len(words) != len(Word) or words[Word.LAYOUT] != LAYOUT:
        return None
    return words, alive


class Control:
    """The supervisor's words to all gates: the phase, and until when last rides are given (see Gate)."""

    def __init__(self, run_dir: Path, *, create: bool = False) -> None:
        path = run_dir / CONTROL_FILE
        if create:
            path.write_bytes(bytes(_CONTROL_BYTES))
        with path.open("r+b" if create else "rb") as file:
            access = mmap.ACCESS_WRITE if create else mmap.ACCESS_READ
            self._words = memoryview(mmap.mmap(file.fileno(), _CONTROL_BYTES, access=access)).cast("q")

    @property
    def phase(self) -> Phase:
        """The phase now; one memory read."""
        return _PHASES[self._words[0]]

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._words[0] = _PHASES.index(phase)

    @property
    def rides_until(self) -> float:
        """Epoch seconds, to the millisecond; 0 for never."""
        return self._words[1] / 1000

    @rides_until.setter
    def rides_until(self, instant: float) -> None:
        self._words[1] = int(instant * 1000)
