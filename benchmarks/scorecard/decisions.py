"""Why ours did what it did on a case: every decision that changed the number, then what it came to.

python benchmarks/scorecard/decisions.py steps --seed 0 [--traces FOLDER] [--run train|step]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cases import DEFAULT_TRACES, Purpose, all_cases

import inferfleet.simulate.ours
from inferfleet.simulate.run import simulate
from inferfleet.values import Observed, Plan


def main() -> None:
    """Run ours once, with an ear on its plans."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--traces", type=Path, default=DEFAULT_TRACES)
    parser.add_argument("--run", type=Purpose, choices=list(Purpose), default=Purpose.JUDGE)
    asked = parser.parse_args()
    case = next(case for case in all_cases(asked.traces) if case.name == asked.case)
    decide = inferfleet.simulate.ours.plan
    last: int | None = None

    def told(observed: Observed, now: float) -> Plan:
        nonlocal last
        made = decide(observed, now)
        if made.decision and made.decision.desired != last:
            last = made.decision.desired
            print(
                f"{now - inferfleet.simulate.ours.EPOCH:8.0f} s, {made.ready} ready: {made.decision.reason}"
            )
        return made

    inferfleet.simulate.ours.plan = told
    outcome = simulate(case.scenarios[asked.run], None, asked.seed)
    print(
        f"{100 * outcome.slo_attainment:.2f} % of {outcome.requests} attained, "
        f"{outcome.gpu_hours:.2f} GPU-hours, "
        f"${outcome.cost_dollars:.2f}, {outcome.lost} lost, {outcome.scale_events} scale events, "
        f"first token p99 {outcome.ttft_p99:.2f} s, between tokens p99 {1000 * outcome.itl_p99:.0f} ms"
    )


if __name__ == "__main__":
    main()
