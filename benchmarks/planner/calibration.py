"""Hold the speed model against known points: `python benchmarks/planner/calibration.py`.

The points are aggregated vLLM serving on 8 GPUs, output tokens/s per GPU, simulated elsewhere by a database
of measured kernels (ai-dynamo/aiconfigurator). They bound the mean time per output token, so the planner is
asked for the 50th percentile.
"""

from __future__ import annotations

from dataclasses import dataclass

from inferfleet.planning import catalogue_facts, find_accelerator
from inferfleet.planning.search import search
from inferfleet.values import (
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    ModelSpec,
    Objectives,
    Offer,
    Pool,
    Workload,
)


@dataclass(frozen=True, slots=True)
class Point:
    """A known best: `tensor` reached `rate`; `also` are those within 5 % of it."""

    model: str
    gpu: str
    strict: bool
    tensor: int
    rate: float
    also: tuple[int, ...] = ()


L8, L70, Q32 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct", "Qwen/Qwen3-32B"
POINTS = (
    Point(L8, "H100", strict=True, tensor=2, rate=2802, also=(1,)),
    Point(L8, "H100", strict=False, tensor=1, rate=8118, also=(2,)),
    Point(L70, "H100", strict=True, tensor=8, rate=373, also=(4,)),
    Point(L70, "H100", strict=False, tensor=4, rate=1232),
    Point(Q32, "H100", strict=True, tensor=4, rate=840),
    Point(Q32, "H100", strict=False, tensor=4, rate=2328),
    Point(L8, "L40S", strict=True, tensor=2, rate=451),
    Point(L8, "L40S", strict=False, tensor=2, rate=1639),
    Point(L70, "A100-80GB", strict=True, tensor=8, rate=105),
    Point(L70, "A100-80GB", strict=False, tensor=4, rate=486),
)


def pool(gpu: str, count: int = 8) -> Pool:
    """One node of so many GPUs at one dollar each."""
    accelerator = find_accelerator(gpu)
    assert accelerator
    offer = Offer(gpu, CapacityType.ON_DEMAND, "", 1.0, "benchmark")
    return Pool(gpu, accelerator, count, 1, (), (offer,), max_nodes=1)


def spec(model: str, *, strict: bool, percentile: float = 50) -> DeploymentSpec:
    """The two questions of the table."""
    return DeploymentSpec(
        name="benchmark",
        namespace="",
        uid="",
        generation=1,
        model=ModelSpec(model),
        engine=EngineSpec(""),
        objectives=Objectives(percentile, 1.0, 0.040) if strict else Objectives(percentile, 5.0, 0.100),
        workload=Workload(4000, 1000) if strict else Workload(1024, 1024),
    )


@dataclass(frozen=True, slots=True)
class Result:
    """Ours at a point: the rate at their tensor parallelism, and our best split with its rate."""

    same: float
    best: str
    best_rate: float
    agrees: bool


def result(point: Point) -> Result:
    """Ask the planner one point's question."""
    model = catalogue_facts(point.model)
    assert model
    found = search(model, [pool(point.gpu)], spec(point.model, strict=point.strict)).outcomes
    rates = {
        outcome.candidate.split: outcome.layout.prediction.tokens_per_second / outcome.candidate.split.gpus
        for outcome in found
    }
    flat = {split.tensor: rate for split, rate in rates.items() if split.pipeline == 1}
    best = found[0].candidate.split
    top = max(flat.values(), default=0.0)
    # right where their best, or one within 5 % of it, is within 5 % of ours without pipelines
    agrees = any(flat.get(tensor, 0.0) >= 0.95 * top for tensor in (point.tensor, *point.also))
    return Result(flat.get(point.tensor, 0.0), str(best), rates[best], agrees)


def main() -> None:
    """Print ours against theirs."""
    print(
        f"{'model':34} {'GPU':10} {'ISL/OSL':9} {'theirs':>12} {'ours there':>10} {'off':>6}  "
        "our best         agrees"
    )
    for point in POINTS:
        ours = result(point)
        load = "4000/1000" if point.strict else "1024/1024"
        print(
            f"{point.model:34} {point.gpu:10} {load:9} TP{point.tensor} {point.rate:8.0f} {ours.same:10.0f} "
            f"{ours.same / point.rate - 1:6.0%}  {ours.best:9} {ours.best_rate:6.0f} {ours.agrees!s:>6}"
        )


if __name__ == "__main__":
    main()
