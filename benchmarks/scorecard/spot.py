"""Spot markets with the published statistics: on-demand, spot, a fixed mix, SkyServe's law, and ours.

    python benchmarks/scorecard/spot.py --seeds 3 --hours 6 --out out/spot

The number of replicas is the same and fixed for all: only where they run differs. Three regions with the
shares of time in which their zones have V100 spot (SkyPilot's traces: any zone up 96, 81 and 71 % of the
time), and one where there is none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

from cases import CHAT, WARM_UP_SECONDS, Service

from inferfleet.planning.catalogue import catalogue_facts
from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.hedged import Hedge
from inferfleet.simulate.nodes import SimulatedPool
from inferfleet.simulate.peers.rate import Static
from inferfleet.simulate.policy import Factory, Policy, Setting
from inferfleet.simulate.run import Outcome, simulate
from inferfleet.simulate.scenario import Scenario
from inferfleet.simulate.world import Routing
from inferfleet.values import (
    AutoscalingSpec,
    CapacitySpec,
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    IntOrPercent,
    ModelSpec,
    Objectives,
    PoolSpec,
    Workload,
)

REPLICAS = 6
LOAD_SHARE = 0.6
SIZES = Sizes(2000.0, 600.0, 0.7, 0.7)
SPOT_PRICE_SHARE = 0.3
REGIONS = {
    "any zone up 96 %": {"a": 0.90, "b": 0.89, "c": 0.88},
    "any zone up 81 %": {"a": 0.66, "b": 0.58, "c": 0.48},
    "any zone up 71 %": {"a": 0.62, "b": 0.54, "c": 0.44},
    "no spot at all": {"a": 0.0, "b": 0.0, "c": 0.0},
}
ALL_SPOT = IntOrPercent(share=1.0)
NONE = IntOrPercent(count=0)


@dataclass(frozen=True, slots=True)
class Mix:
    """A way to run a fixed number; `factory` None is the operator itself."""

    name: str
    capacity: CapacitySpec
    factory: Factory | None


def skyserve(_setting: Setting, overprovision: int) -> Policy:
    """SkyServe's mix, with its on-demand fallback switched on."""
    return Hedge(Static(REPLICAS), overprovision=overprovision)


def plain(_setting: Setting, on_demand: int) -> Policy:
    """A fixed split whose spot is drained on notice, and looks for a zone as SkyServe does."""
    return Hedge(
        Static(REPLICAS),
        base=on_demand,
        fallback=False,
        notices=True,
        drain_seconds=115.0,
        period_seconds=10.0,
    )


MIXES = (
    Mix("all on-demand", CapacitySpec(), partial(plain, on_demand=REPLICAS)),
    Mix("all spot", CapacitySpec(), partial(plain, on_demand=0)),
    Mix("a third on-demand, fixed", CapacitySpec(), partial(plain, on_demand=REPLICAS // 3)),
    Mix("skyserve (overprovision 0)", CapacitySpec(), partial(skyserve, overprovision=0)),
    Mix("skyserve (overprovision 1)", CapacitySpec(), partial(skyserve, overprovision=1)),
    Mix(
        "inferfleet (overprovision 1)",
        CapacitySpec(spot_share=ALL_SPOT, spot_overprovision=IntOrPercent(count=1)),
        None,
    ),
    Mix(
        "inferfleet (overprovision 0)",
        CapacitySpec(spot_share=ALL_SPOT, spot_overprovision=NONE),
        None,
    ),
)


def scenario_of(service: Service, zones: dict[str, float], hours: float) -> Scenario:
    """One region under a steady load."""
    model = catalogue_facts(service.model)
    assert model is not None
    on_demand = service.dollars_per_gpu_hour
    pool = PoolSpec(
        name="pool",
        accelerator_name=service.gpu,
        gpus_per_node=1,
        zones=tuple(zones),
        capacity_types=(CapacityType.SPOT, CapacityType.ON_DEMAND),
        price_dollars_per_gpu_hour={
            CapacityType.ON_DEMAND: on_demand,
            CapacityType.SPOT: on_demand * SPOT_PRICE_SHARE,
        },
    )
    bare = Scenario(
        spec=DeploymentSpec(
            name="spot",
            namespace="default",
            uid="spot",
            generation=1,
            model=ModelSpec(service.model),
            engine=EngineSpec(image="engine"),
            objectives=Objectives(99.0, service.ttft_seconds, service.itl_seconds),
            workload=Workload(round(SIZES.prompt_tokens), round(SIZES.output_tokens)),
            autoscaling=AutoscalingSpec(min_replicas=REPLICAS, max_replicas=REPLICAS),
        ),
        model=model,
        pools=(SimulatedPool(pool),),
        source=Generated(constant(1.0, 60.0), SIZES),
        duration_seconds=hours * 3600 + WARM_UP_SECONDS,
        measure_from_seconds=WARM_UP_SECONDS,
        availability=zones,
        routing=Routing.LEAST_REQUESTS,
        initial_replicas=REPLICAS,
    )
    rate = (
        LOAD_SHARE
        * REPLICAS
        * bare.setting(0).rated_requests_per_second(SIZES.prompt_tokens, SIZES.output_tokens)
    )
    return replace(bare, source=Generated(constant(rate, hours * 3600 + WARM_UP_SECONDS), SIZES))


def main() -> None:
    """Run all mixes in all regions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--out", type=Path, default=Path("out/spot"))
    asked = parser.parse_args()
    began = time.perf_counter()
    rows = []
    for region, zones in REGIONS.items():
        scenario = scenario_of(CHAT, zones, asked.hours)
        for mix in MIXES:
            capped = replace(scenario, spec=replace(scenario.spec, capacity=mix.capacity))
            outcomes = [simulate(capped, mix.factory, seed) for seed in range(asked.seeds)]
            rows.append(row(region, mix.name, outcomes))
            print(line(rows[-1], rows), flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "spot.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (asked.out / "spot.md").write_text(table(rows), encoding="utf-8")
    print(f"{time.perf_counter() - began:.0f} s")


def row(region: str, mix: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The figures of one mix in one region, seed by seed."""
    return {
        "region": region,
        "policy": mix,
        "requests": round(mean(each.requests for each in outcomes)),
        "slo_attainment": [each.slo_attainment for each in outcomes],
        "cost_dollars": [each.cost_dollars for each in outcomes],
        "lost": [each.lost for each in outcomes],
    }


def line(this: dict[str, object], rows: Sequence[dict[str, object]]) -> str:
    """One Markdown row, its cost over that of all on-demand in the same region."""
    base = next(each for each in rows if each["region"] == this["region"])
    ratios = [a / b for a, b in zip(this["cost_dollars"], base["cost_dollars"], strict=True)]  # type: ignore[call-overload]
    attained = [100 * value for value in this["slo_attainment"]]  # type: ignore[attr-defined]
    lost = this["lost"]
    return (
        f"| {this['region']} | {this['policy']} | {span([100 * ratio for ratio in ratios], 0)} | "
        f"{span(attained, 2)} | {span(lost, 0)} |"  # type: ignore[arg-type]
    )


def span(values: Sequence[float], digits: int) -> str:
    """Mean and range."""
    return f"{mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def table(rows: Sequence[dict[str, object]]) -> str:
    """The whole table."""
    head = "| region | policy | cost, % of all on-demand | attainment % | lost |\n|---|---|---|---|---|\n"
    return head + "\n".join(line(each, rows) for each in rows) + "\n"


if __name__ == "__main__":
    main()
