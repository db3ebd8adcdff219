"""What a law could cost at best that knew the rates to come, but not the chance of the day.

    python benchmarks/scorecard/foreknown.py --case diurnal --case servegen --seeds 2

The clairvoyant optimum knows each arrival and spends the misses that are allowed to the second. No law
can. This one is told the rate at every instant of the run, its steps and bursts too, the sizes and the
capacity. Its schedule is searched for as the optimum's is, on the mean of other seeds, and then judged on
the seeds of the scorecard. What lies between the two is out of reach for every law; what lies between this
and ours is what forecasts could win. Public traces of single requests have no rate but their own arrivals,
so they have no such run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean

from cases import DEFAULT_TRACES, Case, Purpose, all_cases
from judge import TARGET, optimal_run

from inferfleet.simulate.optimum import Found, replica_load, search
from inferfleet.simulate.policy import Factory
from inferfleet.simulate.run import Outcome, simulate

LEARNED_ON = range(100, 104)
LOADS = range(100, 132)
ROOMS = (0.0, 0.2, 0.4)
"""For chance, in replicas: a small fleet needs more of it in proportion."""

BY_RATE = ("servegen", "diurnal", "steps", "bursty")


def main() -> None:
    """Search and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, default=DEFAULT_TRACES, help="folder of public traces")
    parser.add_argument("--case", action="append", choices=BY_RATE)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/scorecard"))
    asked = parser.parse_args()
    keep = asked.out / "runs" / "least-requests"
    cases = [case for case in all_cases(asked.traces) if case.name in (asked.case or BY_RATE)]
    with ProcessPoolExecutor(asked.jobs) as pool:
        work = [pool.submit(foreknown, case, range(asked.seeds), asked.trials, keep) for case in cases]
        for case, rows in zip(cases, work, strict=True):
            for seed, (knows, best) in enumerate(rows.result()):
                print(
                    f"{case.name:12s} seed {seed}: {100 * knows.slo_attainment:.2f} % for "
                    f"${knows.cost_dollars:.2f}, {knows.cost_dollars / best.cost_dollars:.2f} x the optimum",
                    flush=True,
                )


def foreknown(case: Case, seeds: Sequence[int], trials: int, keep: Path) -> list[tuple[Outcome, Outcome]]:
    """The run of who knows the rates, and the clairvoyant's, for each seed."""
    scenario = case.scenarios[Purpose.JUDGE]

    def evaluate(factory: Factory) -> tuple[float, float]:
        runs = [simulate(scenario, factory, seed) for seed in LEARNED_ON]
        return fmean(each.slo_attainment for each in runs), fmean(each.cost_dollars for each in runs)

    loads = [replica_load(scenario.setting(seed)) for seed in LOADS]
    load = [fmean(each) for each in zip(*loads, strict=True)]

    def searched(room: float) -> Found:
        return search(
            scenario.setting(LEARNED_ON[0]),
            evaluate,
            TARGET,
            trials=trials,
            from_seconds=scenario.measure_from_seconds,
            load=[busy + room for busy in load],
        )

    found = min((searched(room) for room in ROOMS), key=lambda each: each.cost)
    return [(simulate(scenario, found.policy, seed), optimal_run(case, seed, trials, keep)) for seed in seeds]


if __name__ == "__main__":
    main()
