"""How long the simulator takes for a day of a hundred replicas and a million requests, on one core.

Prints processor seconds and the most memory for each policy; run it as
`python benchmarks/simulator/speed.py [POLICY ...]`, `inferfleet` (the default) being the operator itself.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Final

from inferfleet import planning
from inferfleet.simulate.generate import Generated, Sizes, diurnal
from inferfleet.simulate.nodes import SimulatedPool
from inferfleet.simulate.peers import PEERS
from inferfleet.simulate.run import simulate
from inferfleet.simulate.scenario import Scenario
from inferfleet.values import (
    AutoscalingSpec,
    DeploymentSpec,
    EngineSpec,
    ModelSpec,
    Objectives,
    PoolSpec,
    Workload,
)

MODEL: Final = "mistralai/mistral-7b-instruct-v0.3"
DAY_SECONDS: Final = 86_400.0
REQUESTS: Final = 1_000_000


def scenario() -> Scenario:
    """A day-and-night curve on a hundred L4s, or up to one hundred and forty."""
    model = planning.catalogue_facts(MODEL)
    if model is None:
        raise SystemExit(f"{MODEL} is not recorded")
    spec = DeploymentSpec(
        name="speed",
        namespace="",
        uid="",
        generation=1,
        model=ModelSpec(MODEL, context_length=8192),
        engine=EngineSpec(""),
        objectives=Objectives(95, 5.0, 0.15),
        workload=Workload(1000, 600),
        autoscaling=AutoscalingSpec(min_replicas=100, max_replicas=140),
    )
    mean = REQUESTS / DAY_SECONDS
    return Scenario(
        spec,
        model,
        (SimulatedPool(PoolSpec("l4", accelerator_name="L4", gpus_per_node=1)),),
        Generated(diurnal(0.8 * mean, 1.2 * mean, DAY_SECONDS), Sizes(1000, 600)),
        DAY_SECONDS,
    )


def main() -> None:
    """Run each policy once."""
    for name in sys.argv[1:] or ["inferfleet"]:
        made = scenario()
        before = time.process_time()
        seen = simulate(made, None if name == "inferfleet" else PEERS[name], 1)
        seconds = time.process_time() - before
        ready = sum(each.ready for each in seen.bins) / len(seen.bins)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {seconds:.1f} s of processor for {seen.requests} requests on {ready:.0f} replicas "
            f"(mean), {seen.passes} passes, attainment {seen.slo_attainment:.4f}, {peak:.0f} MiB at most"
        )


if __name__ == "__main__":
    main()
