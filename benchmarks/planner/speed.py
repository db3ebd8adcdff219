"""How long the planner itself takes, for every recorded model on 20 pools.

`python benchmarks/planner/speed.py`. Goal: median below 50 ms, worst below 500 ms, of processor time (the
planner waits for nothing). Each question is asked once, cold, as a pass asks it.
"""

from __future__ import annotations

import statistics
import time

from calibration import pool, spec

from inferfleet.planning import catalogue_facts, catalogue_ids, plan_layout

POOLS = tuple(
    pool(gpu, count)
    for gpu, count in (
        ("T4", 1), ("T4", 4), ("V100", 8), ("A10G", 1), ("A10G", 4), ("L4", 1), ("L4", 4), ("L4", 8),
        ("L40S", 1), ("L40S", 4), ("L40S", 8), ("RTX-PRO-6000", 8), ("A100-40GB", 8), ("A100-80GB", 8),
        ("H100", 8), ("H100-NVL", 2), ("H200", 8), ("B200", 8), ("GB200", 4), ("MI300X", 8),
    )
)  # fmt: skip


def main() -> None:
    """Print median, worst and the slowest questions, in milliseconds."""
    taken: list[tuple[float, str]] = []
    for name in catalogue_ids():
        model = catalogue_facts(name)
        assert model
        for strict in (True, False):
            start = time.process_time()
            planning = plan_layout(model, POOLS, spec(name, strict=strict, percentile=95))
            verdict = str(planning.layout) if planning.layout else "refused"
            taken.append(((time.process_time() - start) * 1e3, f"{name} strict={strict}: {verdict}"))
    times = [each for each, _ in taken]
    print(
        f"{len(POOLS)} pools, {len(times)} questions: median {statistics.median(times):.1f} ms, "
        f"worst {max(times):.1f} ms"
    )
    for milliseconds, question in sorted(taken, reverse=True)[:5]:
        print(f"{milliseconds:8.1f} ms  {question}")


if __name__ == "__main__":
    main()
