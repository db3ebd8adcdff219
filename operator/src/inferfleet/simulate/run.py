"""One run: a scenario, a policy and a seed give an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from inferfleet.simulate.clock import Clock
from inferfleet.simulate.counted import Executor
from inferfleet.simulate.hedged import Hedge, Hedged
from inferfleet.simulate.ledger import Bin, Ledger
from inferfleet.simulate.nodes import Nodes
from inferfleet.simulate.ours import Operator
from inferfleet.simulate.policy import Factory
from inferfleet.simulate.scenario import Scenario
from inferfleet.simulate.world import World


@dataclass(slots=True)
class _Mark:
    """Where the counts stood when measuring began."""

    requests: int = 0
    finished: int = 0
    attained: int = 0
    lost: int = 0
    changes: int = 0
    passes: int = 0
    dollars: float = 0.0
    gpu_seconds: float = 0.0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. `bins` are its course, for plots and for spells over the objectives.

    `slo_attainment` is the share of all requests whose time to first token and mean inter-token latency were
    within the objectives; what was lost, or had no whole answer when the run ended, has missed them.
    """

    policy: str
    seed: int
    requests: int
    finished: int
    attained: int
    lost: int
    in_flight: int
    cost_dollars: float
    gpu_hours: float
    scale_events: int
    passes: int
    duration_seconds: float
    output_tokens: int
    ttft_p50: float
    ttft_p99: float
    itl_p50: float
    itl_p99: float
    bin_seconds: float
    bins: tuple[Bin, ...]

    @property
    def slo_attainment(self) -> float:
        """1 for a run without requests."""
        return self.attained / self.requests if self.requests else 1.0

    @property
    def goodput(self) -> float:
        """Requests per second that were answered within the objectives."""
        return self.attained / self.duration_seconds


def simulate(scenario: Scenario, policy: Factory | None, seed: int) -> Outcome:
    """Run a policy on a scenario; None is the operator itself.

    Each part has its own stream of chance, so that arrivals and spot outages are the same whatever a policy
    does.
    """
    clock = Clock()
    ledger = Ledger(scenario.duration_seconds, scenario.spec.objectives)
    nodes = Nodes(scenario.cloud, clock, Random(f"market {seed}"))
    rng = Random(f"world {seed}")
    world = World(nodes, ledger, scenario.kind, scenario.routing, rng)
    driver = _driver(world, scenario, policy, seed)
    mark = _Mark()
    if scenario.measure_from_seconds:
        clock.call(scenario.measure_from_seconds, lambda: _note(mark, world, ledger, driver))
    run_until, send = clock.run, world.send
    for request in scenario.arrivals(seed):
        run_until(request.at)
        send(request, request.at)
    run_until(scenario.duration_seconds)
    world.accrue()
    dollars, gpu_seconds = world.dollars - mark.dollars, world.gpu_seconds - mark.gpu_seconds
    changes, passes = driver.changes - mark.changes, driver.passes - mark.passes
    while ledger.in_flight and clock.now < scenario.duration_seconds + scenario.tail_seconds:
        run_until(clock.now + 1.0)
    ledger.close(clock.now)
    return Outcome(
        policy=driver.name,
        seed=seed,
        requests=ledger.arrived - mark.requests,
        finished=ledger.answered - mark.finished,
        attained=ledger.attained - mark.attained,
        lost=ledger.lost - mark.lost,
        in_flight=ledger.in_flight,
        cost_dollars=dollars,
        gpu_hours=gpu_seconds / 3600,
        scale_events=changes,
        passes=passes,
        duration_seconds=scenario.duration_seconds - scenario.measure_from_seconds,
        output_tokens=ledger.output_tokens - mark.output_tokens,
        ttft_p50=ledger.ttft.percentile(50),
        ttft_p99=ledger.ttft.percentile(99),
        itl_p50=ledger.itl.percentile(50),
        itl_p99=ledger.itl.percentile(99),
        bin_seconds=ledger.bin_seconds,
        bins=tuple(ledger.bins),
    )


def _note(mark: _Mark, world: World, ledger: Ledger, driver: Operator | Executor) -> None:
    """Take the counts as of now: what is in flight counts as arrived later, for it ends later."""
    world.accrue()
    mark.requests = ledger.arrived - ledger.in_flight
    mark.finished, mark.attained, mark.lost = ledger.answered, ledger.attained, ledger.lost
    mark.changes, mark.passes = driver.changes, driver.passes
    mark.dollars, mark.gpu_seconds = world.dollars, world.gpu_seconds
    mark.output_tokens = ledger.output_tokens


def _driver(world: World, scenario: Scenario, policy: Factory | None, seed: int) -> Operator | Executor:
    initial = scenario.initial(seed)
    if policy is None:
        specs = tuple(pool.spec for pool in scenario.stated_pools)
        return Operator(world, scenario.spec, scenario.model, specs, initial)
    made = policy(scenario.setting(seed))
    if isinstance(made, Hedge):
        return Hedged(world, made, scenario, initial)
    return Executor(world, made, scenario, initial)
