"""`inferfleet simulate`: what a deployment would have done under a trace, and other policies with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from inferfleet.cli.cluster import console
from inferfleet.cli.plan import Duration
from inferfleet.cli.simulate_input import read_cold_start, read_deployment, read_load, read_zones
from inferfleet.simulate.nodes import Provider
from inferfleet.simulate.optimum import search
from inferfleet.simulate.peers import PEERS
from inferfleet.simulate.policy import Factory
from inferfleet.simulate.report import ROWS, Runs, cells, document, page
from inferfleet.simulate.run import Outcome
from inferfleet.simulate.run import simulate as run
from inferfleet.simulate.scenario import Scenario, ScenarioError
from inferfleet.simulate.world import Routing

OURS: Final = "inferfleet"
OPTIMUM: Final = "optimum"
ATTAINS: Final = (
    "A request attains the objectives by its own time to first token and its own mean inter-token latency; "
    "what was lost or never answered has missed them."
)
PAID: Final = "A replica's GPUs are paid from when their node is asked for. The plots show the first seed."
_DURATION: Final = Duration()
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--deployment", type=_FILE, required=True, help="An InferenceDeployment, and GPUPools with it.")
@click.option("--trace", type=_FILE, help="Azure CSV, Mooncake JSON lines, or a CSV of rates.")
@click.option("--load", help="Without a trace: SHAPE:KEY=VALUE,... as spike:base=2,peak=8,at=10m,lasts=20m.")
@click.option(
    "--policy", "policies", multiple=True, help=f"{OURS} (default), {OPTIMUM}, all, or a peer's law."
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each policy."
)
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), default=1.0, help="Times the rate.")
@click.option("--start", type=_DURATION, default=None, help="Where in the trace to begin.")
@click.option("--duration", type=_DURATION, default=None, help="How much of it. Default: to its end.")
@click.option("--burstiness", type=click.FloatRange(min=0), default=1.0, help="Of gaps; 1 is Poisson.")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="NAME:COUNT[xNODES]",
    help="A pool; it grows unless xNODES. Without any: the cheapest.",
)
@click.option("--cold-start", default="", help="Medians, as provision=90s,pull=60s,load=45s,sigma=0.25.")
@click.option("--spot", "zones", multiple=True, metavar="ZONE=SHARE", help="Share of time a zone has spot.")
@click.option(
    "--provider",
    type=click.Choice([*map(str, Provider)]),
    default="aws",
    show_default=True,
    help="Of notices.",
)
@click.option("--routing", type=click.Choice([*map(str, Routing)]), default="random", show_default=True)
@click.option("--initial", type=click.IntRange(min=0), help="Replicas at the start. Default: enough.")
@click.option("--no-optimum", is_flag=True, help="Do not seek the clairvoyant optimum.")
@click.option("--trials", type=click.IntRange(min=0), default=0, help="Refinements of the optimum.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default="simulation.html",
    show_default=True,
    help="Where the page with plots is written.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def simulate(  # noqa: PLR0917 - one parameter per option
    deployment: Path,
    trace: Path | None,
    load: str | None,
    policies: tuple[str, ...],
    seeds: int,
    scale: float,
    start: float | None,
    duration: float | None,
    burstiness: float,
    gpus: tuple[str, ...],
    cold_start: str,
    zones: tuple[str, ...],
    provider: str,
    routing: str,
    initial: int | None,
    no_optimum: bool,
    trials: int,
    report: Path,
    output: str,
) -> None:
    """Replay a trace against a deployment on simulated engines, nodes and spot markets.

    SLO attainment is the share of requests whose time to first token and mean inter-token latency are within
    the deployment's objectives; what was lost or never answered has missed them.
    """
    read = read_deployment(deployment, gpus)
    source, seconds = read_load(trace, load, read.spec.workload, burstiness, (start or 0.0, duration, scale))
    scenario = Scenario(
        read.spec,
        read.model,
        read.pools,
        source,
        seconds,
        cold_start=read_cold_start(cold_start),
        availability=read_zones(zones),
        provider=Provider(provider),
        routing=Routing(routing),
        initial_replicas=initial,
    )
    try:
        wanted = _policies(policies)
        best = {} if no_optimum else {seed: _optimum(scenario, seed, trials) for seed in range(1, seeds + 1)}
        everything = [_runs(scenario, name, make, best, seeds) for name, make in wanted.items()]
    except (ScenarioError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if best:
        costs = {seed: outcome.cost_dollars for seed, outcome in best.items()}
        everything.append(Runs(OPTIMUM, tuple(best.values()), costs))
    facts = _facts(scenario, trace, load)
    _print(everything, output)
    try:
        report.write_text(page(f"{read.spec.name} simulated", facts, everything))
    except OSError as error:
        raise click.FileError(str(report), str(error)) from error
    if output == "table":
        click.echo(f"\n{facts[0]}\nPlots: {report}")


def _policies(asked: tuple[str, ...]) -> Mapping[str, Factory | None]:
    known: dict[str, Factory | None] = {OURS: None, **PEERS}
    if "all" in asked:
        return known
    chosen = [name for name in asked or (OURS,) if name != OPTIMUM]
    for name in chosen:
        if name not in known:
            raise click.UsageError(f"--policy {name}: known are all, {', '.join(known)}, {OPTIMUM}")
    return {name: known[name] for name in chosen}


def _runs(
    scenario: Scenario, name: str, make: Factory | None, best: Mapping[int, Outcome], seeds: int
) -> Runs:
    outcomes = tuple(run(scenario, make, seed) for seed in range(1, seeds + 1))
    return Runs(name, outcomes, {seed: outcome.cost_dollars for seed, outcome in best.items()})


def _optimum(scenario: Scenario, seed: int, trials: int) -> Outcome:
    """The cheapest fleet that a search finds for the objectives' percentile, with the future known."""

    def evaluate(policy: Factory) -> tuple[float, float]:
        seen = run(scenario, policy, seed)
        return seen.slo_attainment, seen.cost_dollars

    target = scenario.spec.objectives.percentile / 100
    found = search(scenario.setting(seed), evaluate, target, trials=trials)
    return run(scenario, found.policy, seed)


def _print(everything: list[Runs], output: str) -> None:
    if output == "json":
        for runs in everything:
            click.echo(json.dumps(document(runs)))
        return
    table = Table(*(heading for heading, _, _ in ROWS), box=None)
    for runs in everything:
        table.add_row(*cells(runs))
    console().print(table)


def _facts(scenario: Scenario, trace: Path | None, load: str | None) -> list[str]:
    layout, wanted, cold = scenario.layout, scenario.spec.objectives, scenario.cold_start
    source = trace.name if trace else load
    span = f"{scenario.duration_seconds:g} s of {scenario.model.model_id} on {layout}"
    bounds = f"first token {_bound(wanted.ttft_seconds)}, between tokens {_bound(wanted.itl_seconds)}"
    start = f"{cold.schedule_seconds:g} + {cold.pull_seconds:g} + {cold.load_seconds:g} s"
    new = f"a new node comes {cold.provision_seconds:g} s after it is asked for"
    return [
        f"{source}: {span}, routed {scenario.routing}. Objectives: {bounds}.",
        ATTAINS,
        f"A start takes {start} (scheduling, pulling once a node, loading); {new}. Medians. {PAID}",
    ]


def _bound(seconds: float | None) -> str:
    return "unbounded" if seconds is None else f"{seconds:g} s"
