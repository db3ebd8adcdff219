"""Every control law on every load, beside the clairvoyant optimum.

    python benchmarks/scorecard/scorecard.py --traces FOLDER --seeds 3 --out out/scorecard

Without a folder of traces only the generated loads run. Writes scorecard.md, scorecard.json, scorecard.html;
runs are kept in OUT/runs until the code that they depend on changes. Each load's plot is an SVG as well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cases import DEFAULT_TRACES, Case, Purpose, all_cases
from judge import OPTIMUM, OURS, Verdict, judged, optimal_run, policies, tune
from report import as_json, label, markdown, page, plot, span
from runs import Named, run

from inferfleet.simulate.world import Routing

DEFAULT_SEEDS = 1
"""Defaults are far from the comparison: one seed tells enough of them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    seeds: int
    trials: int
    laws: tuple[str, ...]
    keep: Path
    untuned: bool


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, default=DEFAULT_TRACES, help="folder of public traces")
    parser.add_argument("--case", action="append", help="only these cases")
    parser.add_argument("--policy", action="append", help="only these laws, beside ours and the optimum")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24, help="cuts that the search for the optimum tries")
    parser.add_argument("--untuned", action="store_true", help="laws with their defaults alone")
    parser.add_argument("--routing", type=Routing, choices=list(Routing), default=Routing.LEAST_REQUESTS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/scorecard"))
    line = parser.parse_args()
    wanted = [case for case in all_cases(line.traces) if not line.case or case.name in line.case]
    cases = [replace(case, routing=line.routing) for case in wanted]
    if not cases:
        sys.exit("no such case")
    asked = Asked(
        line.seeds, line.trials, tuple(policies(line.policy)), line.out / "runs" / line.routing, line.untuned
    )
    began = time.perf_counter()
    with ProcessPoolExecutor(line.jobs) as pool:
        card = [(case, run_case(case, asked, pool)) for case in cases]
    seconds = time.perf_counter() - began
    said = markdown(card)
    line.out.mkdir(parents=True, exist_ok=True)
    (line.out / "scorecard.md").write_text(said, encoding="utf-8")
    meta = {"seeds": line.seeds, "trials": line.trials, "wall_seconds": round(seconds)}
    (line.out / "scorecard.json").write_text(as_json(card, meta), encoding="utf-8")
    (line.out / "scorecard.html").write_text(page(card), encoding="utf-8")
    for case, verdicts in card:
        (line.out / f"{case.name}.svg").write_text(plot(verdicts), encoding="utf-8")
    print(said)
    print(f"{len(card)} cases, {line.seeds} seeds, {seconds:.0f} s")


def run_case(case: Case, asked: Asked, pool: ProcessPoolExecutor) -> list[Verdict]:
    """The optimum first: laws are measured by it, ours among them."""
    best = [pool.submit(optimal_run, case, seed, asked.trials, asked.keep) for seed in range(asked.seeds)]
    costs = [each.result().cost_dollars for each in best]
    limit = judged(case, Named(OPTIMUM), (each.result() for each in best), costs)
    progress(case, limit)
    laws = [pool.submit(run_law, case, name, asked, costs) for name in (OURS, *asked.laws)]
    return [limit, *(verdict for law in laws for verdict in law.result())]


def run_law(case: Case, name: str, asked: Asked, costs: Sequence[float]) -> list[Verdict]:
    """One law with its defaults and with a tuned target; of ours all seeds have the defaults too."""
    plain = Named(name, "default")
    if asked.untuned:
        return [run_named(case, plain, asked, costs)]
    best = tune(case, name, asked.keep)
    some = costs if name == OURS else costs[:DEFAULT_SEEDS]
    return [run_named(case, plain, asked, some), run_named(case, best, asked, costs)]


def run_named(case: Case, who: Named, asked: Asked, costs: Sequence[float]) -> Verdict:
    """One policy on what is judged, and on the step: a seed for each of the optimum's costs."""
    seen, stepped = (
        [run(case, who, seed, purpose, asked.keep) for seed in range(len(costs))]
        for purpose in (Purpose.JUDGE, Purpose.STEP)
    )
    verdict = judged(case, who, seen, costs, stepped)
    progress(case, verdict)
    return verdict


def progress(case: Case, verdict: Verdict) -> None:
    """One line a verdict, for whoever waits."""
    print(
        f"{case.name:12s} {label(verdict):36s} {100 * verdict.attainment.mean:6.2f} % "
        f"{span(verdict.over_optimum)} x, lost {span(verdict.lost, 0)}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
