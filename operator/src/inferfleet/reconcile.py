"""One pass: everything that is known goes in, everything that is to be done and said comes out.

`plan` starts from scratch every time. What it remembers goes in and comes out as values, so a pass that is
repeated, skipped or cut off does no harm; where nothing changed it plans nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inferfleet import capacity, conditions, disruption, planning, scaling
from inferfleet.disruption import Scene
from inferfleet.layouts import choose, revision_of
from inferfleet.supply import Demand, Fleet, Supply, divide, supply, without
from inferfleet.values import (
    Account,
    Action,
    CapacityType,
    Condition,
    ConditionType,
    EngineSample,
    Interruption,
    Layout,
    Memory,
    Node,
    Observed,
    Plan,
    Pool,
    Reason,
    ScalingDecision,
    ScalingMemory,
    Worker,
    Workload,
)
from inferfleet.values.frozen import replace
from inferfleet.values.remembered import remembered

BUSY_LOOK_SECONDS = 1.0
"""While anyone leaves: deadlines are short, and idleness is seen by looking."""

STARTING_LOOK_SECONDS = 2.0
CALM_LOOK_SECONDS = 5.0

_discover_pools = remembered(planning.discover_pools)


def plan(observed: Observed, now: float) -> Plan:
    """Decide everything for one deployment as of `now`."""
    spec = observed.spec
    heard = scaling.newest(observed.memory.scaling.samples, observed.samples)
    samples = scaling.fresh(heard, now)
    sights = disruption.Sights(
        observed.nodes,
        observed.workers,
        samples,
        observed.memory.interruptions,
        observed.claims,
        observed.node_events,
    )
    interruptions = disruption.classify(sights, now)
    found_pools = _discover_pools(
        _usable_nodes(observed, interruptions),
        observed.pool_specs,
        observed.gpus_taken,
        observed.node_pools,
    )
    pools = capacity.with_prices(found_pools, observed.prices)
    choice = choose(observed, pools)
    scene = Scene(spec, choice.layout, choice.revision, samples, now, {i.node: i for i in interruptions})
    fleet = divide(observed.workers, scene)
    sizes = [sample.kv_cache_tokens for sample in samples.values() if sample.kv_cache_tokens]
    sized, size_drift = _corrected(choice.layout, spec.workload, kv_cache_tokens=min(sizes, default=None))
    decision, memory = _scale(observed, heard, _for_requests(observed, sized, pools), fleet, scene)
    given = supply(Demand(observed, choice, pools, fleet, decision, scene))
    protections, idle_since = _protect(observed, scene)
    lost, accounts = _settle(observed, samples, scene)
    silent = disruption.find_silent(given.fleet.staying, accounts, now)
    actions = (*_act(observed, given, decision, scene, silent), *protections)
    measured, pace_drift = _corrected(sized, spec.workload, tokens_per_second=memory.busy_tokens_per_second)
    purchase = planning.expect_purchase(
        capacity.without_node(given.fleet.staying),
        pools,
        observed.node_pools,
        spec.capacity.fallback_after_seconds,
        now,
    )
    said = conditions.judge(
        conditions.Findings(
            observed, choice, given, decision, interruptions, measured, (*size_drift, *pace_drift), purchase
        )
    )
    changed = observed.memory.scaling.desired not in {None, decision.desired}
    gpus = choice.layout.gpus_per_replica if choice.layout else 0
    dollars = capacity.dollars_per_hour(observed.workers, pools, gpus)
    return Plan(
        actions=actions,
        events=conditions.announce(
            said, observed.memory.conditions, actions, decision.reason if changed else None, _mourn(lost)
        ),
        memory=Memory(
            layout=choice.layout,
            revision=choice.revision,
            planned_from=choice.planned_from,
            scaling=memory,
            capacity=given.memory,
            conditions=said,
            interruptions=_to_remember(interruptions, observed.workers),
            lost=disruption.add_losses(observed.memory.lost, lost),
            accounts=accounts,
            idle_since=idle_since,
        ),
        planning=choice.planning,
        measured=measured,
        decision=decision,
        pools=pools,
        ready=sum(worker.ready for worker in observed.workers),
        desired=decision.desired,
        spot_ready=sum(w.ready and w.offer.capacity_type is CapacityType.SPOT for w in observed.workers),
        dollars_per_hour=dollars,
        dollars_per_million_tokens=capacity.dollars_per_million_tokens(dollars, decision.tokens_per_second),
        next_look_seconds=_next_look(given, decision, actions),
        renders_spec=choice.layout is None or choice.revision == revision_of(choice.layout, spec),
        complete=_is_complete(said, given.fleet),
        leaving=bool(given.fleet.departures),
        finished=spec.deleted_at is not None and not observed.workers and observed.view_stale is None,
    )


def _is_complete(said: Sequence[Condition], fleet: Fleet) -> bool:
    arrived = any(c.type is ConditionType.PROGRESSING and c.reason.code == "Complete" for c in said)
    return arrived and any(worker.ready for worker in fleet.new)


def _to_remember(
    interruptions: Sequence[Interruption], workers: Sequence[Worker]
) -> tuple[Interruption, ...]:
    """What concerns our workers, and what will not be told again; the rest is read anew from the nodes."""
    used = {pod.node for worker in workers for pod in worker.pods} if interruptions else {}
    return tuple(item for item in interruptions if item.node in used or disruption.is_message(item))


def _usable_nodes(observed: Observed, interruptions: Sequence[Interruption]) -> tuple[Node, ...]:
    """The nodes, with those that are going closed: not every signal comes with a taint."""
    going = {item.node for item in interruptions}
    if not going:
        return observed.nodes
    return tuple(replace(n, unschedulable=True) if n.name in going else n for n in observed.nodes)


def _scaling_memory(observed: Observed, revision: str | None) -> ScalingMemory:
    """What one replica was seen to do is worth nothing for another layout."""
    if observed.memory.revision in {None, revision}:
        return observed.memory.scaling
    return replace(
        observed.memory.scaling,
        tokens_per_second_per_replica=None,
        predicted_tokens_per_second=None,
        busy_tokens_per_second=None,
    )


def _scale(
    observed: Observed, heard: Mapping[str, EngineSample], layout: Layout | None, fleet: Fleet, scene: Scene
) -> tuple[ScalingDecision, ScalingMemory]:
    """Scale on who can be hoped for: what found no node or cannot start in time is no capacity on its way."""
    stuck = capacity.stuck(fleet.staying, observed.spec.capacity, scene.now)
    failing = [worker for worker in fleet.staying if worker.failure]
    hopeless = {worker.name for worker in (*stuck, *failing)}
    scope = scaling.Scope(
        spec=observed.spec.autoscaling,
        staying=without(fleet.staying, hopeless),
        leaving=fleet.leaving,
        samples=heard,
        layout=layout,
        objectives=observed.spec.objectives,
        workload=observed.spec.workload,
        wake=observed.wake,
        paused=observed.spec.paused or not observed.spec_known,
    )
    return scaling.decide(scope, _scaling_memory(observed, scene.revision), scene.now)


def _act(
    observed: Observed, given: Supply, decision: ScalingDecision, scene: Scene, silent: frozenset[str]
) -> tuple[Action, ...]:
    """Replacements first, then whoever can serve, then whoever leaves.

    A view that cannot be trusted allows nothing that takes away. It allows creations: their names are the
    same ones each time, so one that exists already is refused by the API server.
    """
    if observed.view_stale:
        return given.creations
    fleet = given.fleet
    return (
        *given.creations,
        *disruption.put_into_service(fleet.staying, silent),
        *disruption.take_out(fleet.staying, silent),
        *disruption.drain(fleet.departures, fleet.staying, decision.desired, scene),
    )


def _corrected(
    layout: Layout | None,
    workload: Workload,
    *,
    kv_cache_tokens: int | None = None,
    tokens_per_second: float | None = None,
) -> tuple[Layout | None, tuple[Reason, ...]]:
    """The layout with what the running engines report in place of estimates, and how far they are off.

    It is for judging load and for showing: what is rendered, and so the revision, stays as planned.
    """
    if layout is None:
        return None, ()
    return planning.correct(layout, workload, kv_cache_tokens, tokens_per_second)


def _for_requests(observed: Observed, layout: Layout | None, pools: Sequence[Pool]) -> Layout | None:
    """The layout with what it will do with the requests that come, which need not be those of the spec."""
    memory = observed.memory.scaling
    if (
        layout is None
        or observed.model is None
        or memory.prompt_tokens is None
        or memory.output_tokens is None
    ):
        return layout
    request = Workload(round(memory.prompt_tokens), round(memory.output_tokens))
    return planning.repredict(layout, observed.model, pools, observed.spec, request)


def _settle(
    observed: Observed, samples: Mapping[str, EngineSample], scene: Scene
) -> tuple[disruption.Losses, tuple[Account, ...]]:
    """Who is missing from a view that cannot be trusted may be there all the same."""
    if observed.view_stale:
        return (), observed.memory.accounts
    books = disruption.Books(
        observed.memory.accounts,
        samples,
        observed.workers,
        scene.interruptions,
        observed.last_words,
        observed.heard,
    )
    return disruption.settle(books)


def _protect(observed: Observed, scene: Scene) -> tuple[tuple[Action, ...], disruption.Idle]:
    """Nobody is given up on a view that cannot be trusted."""
    if observed.view_stale or not observed.spec.protects:
        return (), observed.memory.idle_since
    return disruption.protect(observed.workers, scene.samples, observed.memory.idle_since, scene.now)


def _mourn(lost: disruption.Losses) -> Reason | None:
    return Reason("RequestsLost", disruption.describe(lost)) if lost else None


def _next_look(given: Supply, decision: ScalingDecision, actions: Sequence[Action]) -> float:
    if given.fleet.departures:
        return BUSY_LOOK_SECONDS
    if actions or decision.limited_by or not all(worker.ready for worker in given.fleet.staying):
        return STARTING_LOOK_SECONDS
    return CALM_LOOK_SECONDS
