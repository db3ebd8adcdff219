"""Spot markets with the published statistics: on-demand, spot, a fixed mix, SkyServe's law, and ours.

    python benchmarks/scorecard/spot.py --seeds 2 --hours 24 --out out/spot

The number of replicas is the same and fixed for all: only where they run differs. The three regions of the
SkyPilot V100 traces (any zone up 96, 81 and 71 % of the time), and one where there is no spot. Runs are kept:
what was run before with the same code is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

from cases import CHAT, Case, Purpose
from judge import Range
from report import percent, span
from runs import OPERATOR, WORLD, fingerprint, kept

from inferfleet.simulate.clock import Clock
from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.hedged import Hedge
from inferfleet.simulate.nodes import Nodes, SimulatedPool
from inferfleet.simulate.peers.rate import Static
from inferfleet.simulate.policy import Factory, Policy, Setting
from inferfleet.simulate.run import simulate
from inferfleet.simulate.scenario import Scenario
from inferfleet.values import (
    AutoscalingSpec,
    CapacitySpec,
    CapacityType,
    IntOrPercent,
    Workload,
)

REPLICAS = 6
LOAD_SHARE = 0.6
SIZES = Sizes(2000.0, 600.0, 0.7, 0.7)
SPOT_PRICE_SHARE = 0.3
REGIONS = {
    "us-west-2": {"a": 0.90, "b": 0.89, "c": 0.89},
    "us-east-2": {"a": 0.72, "b": 0.72},
    "us-east-1": {"a": 0.17, "b": 0.40, "c": 0.50, "d": 0.60},
    "no spot": {"a": 0.0, "b": 0.0, "c": 0.0},
}
LEAST = "least there can be"
TICK_SECONDS = 30.0
WARM_UP_SECONDS = 3600.0
"""Where a run begins without spot, what a mix did about that first is over by then."""

ALL_SPOT = IntOrPercent(share=1.0)
NONE = IntOrPercent(count=0)


@dataclass(frozen=True, slots=True)
class Mix:
    """A way to run a fixed number; `factory` None is the operator itself."""

    name: str
    capacity: CapacitySpec
    factory: Factory | None


@dataclass(frozen=True, slots=True)
class Row:
    """One mix in one region, over seeds. `cost` is a share of what all on-demand costs."""

    region: str
    policy: str
    cost: Range
    attained: Range | None = None
    lost: Range | None = None

    def __str__(self) -> str:
        """A row of Markdown, shares in percent."""
        cells = [self.region, self.policy, percent(self.cost, 1)]
        cells.append(percent(self.attained) if self.attained else "")
        cells.append(span(self.lost, 0) if self.lost else "")
        return f"| {' | '.join(cells)} |"


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


def scenario_of(zones: dict[str, float], hours: float) -> Scenario:
    """One region under a steady load."""
    seconds = hours * 3600 + WARM_UP_SECONDS
    workload = Workload(round(SIZES.prompt_tokens), round(SIZES.output_tokens))
    source = Generated(constant(1.0, seconds), SIZES)
    bare = Case("spot", CHAT, workload, source, source, seconds, seconds).scenarios[Purpose.JUDGE]
    on_demand = CHAT.dollars_per_gpu_hour
    pool = replace(
        bare.pools[0].spec,
        zones=tuple(zones),
        capacity_types=(CapacityType.SPOT, CapacityType.ON_DEMAND),
        price_dollars_per_gpu_hour={
            CapacityType.ON_DEMAND: on_demand,
            CapacityType.SPOT: on_demand * SPOT_PRICE_SHARE,
        },
    )
    fixed = AutoscalingSpec(min_replicas=REPLICAS, max_replicas=REPLICAS)
    rated = bare.setting(0).rated_requests_per_second(SIZES.prompt_tokens, SIZES.output_tokens)
    return replace(
        bare,
        spec=replace(bare.spec, autoscaling=fixed),
        pools=(SimulatedPool(pool),),
        source=Generated(constant(LOAD_SHARE * REPLICAS * rated, seconds), SIZES),
        measure_from_seconds=WARM_UP_SECONDS,
        availability=zones,
        initial_replicas=REPLICAS,
    )


def main() -> None:
    """Run all mixes in all regions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--regions", nargs="+", choices=REGIONS, default=list(REGIONS))
    parser.add_argument("--out", type=Path, default=Path("out/spot"))
    asked = parser.parse_args()
    began = time.perf_counter()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for region in asked.regions:
        for row in rows_of(region, asked.hours, asked.seeds, asked.out / "runs"):
            rows.append(row)
            print(row, flush=True)
    (asked.out / "spot.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    head = "| region | policy | cost, % of all on-demand | attained % | lost |\n|---|---|---|---|---|\n"
    (asked.out / "spot.md").write_text(head + "\n".join(map(str, rows)) + "\n", "utf-8")
    print(f"{time.perf_counter() - began:.0f} s")


def rows_of(region: str, hours: float, seeds: int, keep: Path) -> Iterator[Row]:
    """The least that can be, and every mix."""
    scenario = scenario_of(REGIONS[region], hours)
    whole = REPLICAS * CHAT.dollars_per_gpu_hour * hours
    yield Row(region, LEAST, Range(tuple(least_cost(scenario, seed) for seed in range(seeds))))
    for mix in MIXES:
        code = fingerprint(*WORLD, *(("simulate/peers/rate.py",) if mix.factory else OPERATOR))
        mixed = replace(scenario, spec=replace(scenario.spec, capacity=mix.capacity))
        outcomes = [
            kept(
                keep / f"{region}-{mix.name}-{hours:g}-{seed}-{code}",
                partial(simulate, mixed, mix.factory, seed),
            )
            for seed in range(seeds)
        ]
        yield Row(
            region,
            mix.name,
            Range(tuple(each.cost_dollars / whole for each in outcomes)),
            Range(tuple(each.slo_attainment for each in outcomes)),
            Range(tuple(float(each.lost) for each in outcomes)),
        )


def least_cost(scenario: Scenario, seed: int) -> float:
    """Spot whenever any zone sells it, and on-demand else, as one who knows the future would.

    A return to spot pays for both during a cold start, and is left out where it does not pay. That spot
    outlives the end of its sale by a few minutes is not used; that zones change costs nothing.
    """
    clock = Clock()
    market = Nodes(scenario.cloud, clock, Random(f"market {seed}")).market
    begin, end = scenario.measure_from_seconds, scenario.duration_seconds
    saved, spell, entry = 0.0, 0.0, 0.0
    for tick in range(round(begin / TICK_SECONDS), round(end / TICK_SECONDS)):
        clock.run(tick * TICK_SECONDS)
        if any(map(market.is_available, scenario.availability)):
            spell += TICK_SECONDS
        else:
            saved += max(0.0, (1 - SPOT_PRICE_SHARE) * spell - entry)
            spell, entry = 0.0, scenario.replica.cold_start_seconds
    saved += max(0.0, (1 - SPOT_PRICE_SHARE) * spell - entry)
    return 1 - saved / (end - begin)


if __name__ == "__main__":
    main()
