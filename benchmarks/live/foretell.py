"""What the simulator says of the same load, its engine fitted to the calibration alone.

    python benchmarks/live/foretell.py RESULT.json     # what run.py --out wrote

Steps take a constant and a share for each sequence; one sequence and a full batch give both. What
the first token takes beyond one step, idle, is the API server's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import Fitting
from policies import POLICIES, RUNNING, WAITING, Policy
from shape import Shape

from inferfleet.api import InferenceDeployment
from inferfleet.planning.facts import model_facts
from inferfleet.planning.speed import StepModel
from inferfleet.simulate.nodes import ColdStart, SimulatedPool
from inferfleet.simulate.peers.hpa import SYNC_SECONDS, Behavior, Controller, Rate, from_total
from inferfleet.simulate.policy import Request, Seen, Setting
from inferfleet.simulate.run import simulate
from inferfleet.simulate.scenario import Scenario
from inferfleet.values import CapacityType, ModelFacts, PoolSpec

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 5


@dataclass(frozen=True)
class Calibration:
    """One replica of the real engine: idle, and with more to do than its batch holds."""

    cold_start: float
    rps: float
    full_tokens_per_second: float
    idle_ttft: float
    idle_itl: float

    def step_model(self, batch: int) -> StepModel:
        """The steps that these figures mean."""
        full = batch / self.full_tokens_per_second
        each = max(0.0, (full - self.idle_itl) / (batch - 1))
        return StepModel(overhead_seconds=self.idle_itl - each, overhead_seconds_per_sequence=each)


@dataclass(frozen=True)
class SameLoad:
    """The shape's own requests, whatever the simulator's seed."""

    shape: Shape

    def stream(self, _seed: int) -> Iterator[Request]:
        """Yield them in order."""
        for one in self.shape.requests():
            yield Request(one.at, one.prompt_tokens, one.output_tokens)


@dataclass
class External:
    """A HorizontalPodAutoscaler on external metrics with average values."""

    policy: Policy
    controller: Controller
    drain_seconds: float = 120.0
    period_seconds: float = SYNC_SECONDS

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    def replicas(self, seen: Seen, now: float) -> int:
        """One sync of the controller."""
        totals = {
            WAITING: sum(sample.waiting for sample in seen.samples),
            RUNNING: sum(sample.running for sample in seen.samples),
        }
        answers = [
            from_total(seen.desired, totals[metric], float(target)) if seen.samples else None
            for metric, target in self.policy.targets.items()
        ]
        return self.controller.recommend(now, seen.desired, answers)


def external(policy: Policy, fitting: Fitting) -> Any:
    """Make the policy for a run."""
    up = (Rate(15.0, share=1.0),) if policy.scale_up else Behavior().up
    behavior = Behavior(up=up, down_window_seconds=float(fitting.down_seconds))

    def make(_setting: Setting) -> External:
        return External(policy, Controller(1, fitting.most, behavior))

    return make


def scenario(result: Mapping[str, Any]) -> Scenario:
    """The real run's deployment, engine, nodes and load."""
    fitting, shape = Fitting(**result["fitting"]), Shape(**result["shape"])
    manifest = fitting.manifests(ROOT / "examples" / "quickstart.yaml", POLICIES[0])[-1]
    manifest["metadata"] |= {"namespace": "demo", "uid": "live", "generation": 1}
    spec = InferenceDeployment.parse(manifest).to_values()
    cold = result["calibration"]["cold_start"]
    pool = PoolSpec(
        "l4-x4",
        accelerator_name="L4",
        gpus_per_node=4,
        max_nodes=2,
        zones=("zone-a",),
        capacity_types=(CapacityType.ON_DEMAND,),
        price_dollars_per_gpu_hour={CapacityType.ON_DEMAND: 1.0},
    )
    return Scenario(
        spec=spec,
        model=facts(result["model"]),
        pools=(SimulatedPool(pool, standing=2, grows=False),),
        source=SameLoad(shape),
        duration_seconds=shape.seconds,
        cold_start=ColdStart(0.0, 1.0, 0.0, max(0.1, cold - 1.0), 0.05),
        initial_replicas=1,
        step=Calibration(**result["calibration"]).step_model(fitting.batch),
        frontend_seconds=max(0.0, result["calibration"]["idle_ttft"] - result["calibration"]["idle_itl"]),
    )


def facts(kept: Mapping[str, Any]) -> ModelFacts:
    """The model as the operator read it in the cluster."""
    return model_facts(kept["config"], kept["weightBytes"], model_id="tiny-llama", tensors=None)


def foretell(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """For each policy of a run: the simulator's figures, the mean over its seeds."""
    told: dict[str, dict[str, float]] = {}
    for name in result["outcomes"]:
        policy = next(one for one in POLICIES if one.name == name)
        factory = external(policy, Fitting(**result["fitting"])) if policy.targets else None
        runs = [simulate(scenario(result), factory, seed) for seed in range(SEEDS)]
        told[name] = {
            "slo_attainment": sum(one.slo_attainment for one in runs) / SEEDS,
            "replica_seconds": sum(one.gpu_hours * 3600 for one in runs) / SEEDS,
            "ttft_p50": sum(one.ttft_p50 for one in runs) / SEEDS,
            "itl_p50": sum(one.itl_p50 for one in runs) / SEEDS,
            "requests": sum(one.requests for one in runs) / SEEDS,
            "lost": sum(one.lost for one in runs) / SEEDS,
        }
    return told


def table(result: Mapping[str, Any], told: Mapping[str, Mapping[str, float]]) -> str:
    """Foretold beside measured."""
    rows = ["| | " + " | ".join(f"{name}: foretold | measured" for name in told) + " |"]
    rows.append("|---|" + "---|---|" * len(told))
    keys = (("slo_attainment", ".1%"), ("replica_seconds", ".0f"), ("ttft_p50", ".3f"), ("itl_p50", ".4f"))
    for key, form in (*keys, ("requests", ".0f"), ("lost", ".0f")):
        pairs = (
            f"{format(one[key], form)} | {format(result['outcomes'][name][key], form)}"
            for name, one in told.items()
        )
        rows.append(f"| {key} | " + " | ".join(pairs) + " |")
    return "\n".join(rows)


def main() -> None:
    """Print the table for a result."""
    result = json.loads(Path(sys.argv[1]).read_text())
    print(table(result, foretell(result)))


if __name__ == "__main__":
    main()
