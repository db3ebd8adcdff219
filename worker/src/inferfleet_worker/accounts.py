"""The sum over all gates, living and dead, as the supervisor sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inferfleet_wire import InFlight, LostCause, RefusedCause
from inferfleet_worker.ledger import LEDGER_PATTERN, Word, read_ledger


@dataclass(frozen=True)
class Totals:
    """One look over all gates; `gates` counts the living."""

    gates: int
    in_flight: InFlight
    accepted: int
    finished: int
    disconnected: int
    refused: dict[str, int]
    lost: dict[str, int]


class Accounts:
    """Adds up the ledgers, and buries each dead one once: what it had in flight is lost."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._buried: Counter[int] = Counter()
        self._lost: Counter[LostCause] = Counter()

    def read(self, cause_of_death: Callable[[int], LostCause]) -> Totals:
        """The totals now. `cause_of_death` names the loss when the process of that pid is gone."""
        living: Counter[int] = Counter()
        gates = 0
        for path in sorted(self._run_dir.glob(LEDGER_PATTERN)):
            reading = read_ledger(path)
            if reading is None:
                continue
            words, alive = reading
            if alive:
                living.update(dict(enumerate(words)))
                gates += 1
            else:
                self._bury(words, cause_of_death(words[Word.PID]))
                path.unlink()
        return self._totals(living, gates)

    def _bury(self, words: tuple[int, ...], cause: LostCause) -> None:
        self._lost[cause] += words[Word.IN_FLIGHT]
        totals = {word: words[word] for word in Word if word >= Word.ACCEPTED}
        self._buried.update(totals)

    def _totals(self, living: Counter[int], gates: int) -> Totals:
        total = living + self._buried
        lost = Counter(self._lost)
        lost[LostCause.ERROR] += total[Word.LOST_ERROR]
        lost[LostCause.DEADLINE] += total[Word.LOST_DEADLINE]
        return Totals(
            gates=gates,
            in_flight=InFlight(living[Word.IN_FLIGHT], living[Word.IN_FLIGHT_TOKENS]),
            accepted=total[Word.ACCEPTED],
            finished=total[Word.FINISHED],
            disconnected=total[Word.DISCONNECTED],
            refused={
                RefusedCause.DRAINING.value: total[Word.REFUSED_DRAINING],
                RefusedCause.QUEUE_FULL.value: total[Word.REFUSED_QUEUE_FULL],
            },
            lost={cause.value: lost[cause] for cause in LostCause},
        )
