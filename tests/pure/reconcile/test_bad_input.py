"""Specs and models that make no sense, views that cannot be trusted, engines that are silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from small_fleets import ON_DEMAND, SPOT_TAINT, condition, serving
from small_world import MODEL, deployment, gpu_node

from inferfleet.reconcile import plan
from inferfleet.values import (
    AutoscalingSpec,
    ConditionType,
    CreateWorker,
    EngineSpec,
    ModelSpec,
    Observed,
    Reason,
)


@pytest.mark.parametrize(
    ("spoil", "kind", "code"),
    [
        (
            lambda o: replace(o, spec_problem=Reason("BadQuantity", "spec.x is no quantity")),
            ConditionType.PLANNED,
            "BadQuantity",
        ),
        (
            lambda o: replace(o, model=None, model_problem=Reason("NoConfig", "no config.json")),
            ConditionType.MODEL_RESOLVED,
            "NoConfig",
        ),
        (
            lambda o: replace(o, spec=replace(o.spec, capacity=replace(o.spec.capacity, pools=("nowhere",)))),
            ConditionType.PLANNED,
            None,
        ),
    ],
    ids=["a spec that does not parse", "a model that cannot be read", "a pool that does not exist"],
)
def test_bad_input_is_said_once_and_the_running_replicas_stay(
    spoil: Callable[[Observed], Observed], kind: ConditionType, code: str | None
) -> None:
    world = serving(2)
    first = plan(spoil(world.observe()), world.now)
    status, reason = condition(first, kind)
    assert status is False
    assert code is None or reason.code == code
    assert first.actions == ()
    assert (first.layout, first.revision) == (world.last.layout, world.last.revision)
    assert [event.warning for event in first.events] == [True] * len(first.events)
    assert first.events
    world.memory = replace(world.memory, conditions=first.conditions)
    again = plan(spoil(world.observe()), world.now)
    assert again.events == ()


def test_a_replacement_under_a_refused_spec_is_rendered_from_the_spec_of_its_revision() -> None:
    world = serving(2)
    assert plan(world.observe(), world.now).renders_spec
    spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    refused = replace(spec, capacity=replace(spec.capacity, pools=("nowhere",)))
    made = plan(replace(world.observe(), spec=refused), world.now)
    assert (made.revision, made.renders_spec) == (world.last.revision, False)
    assert plan(replace(world.observe(), spec=spec), world.now).renders_spec


def test_a_deployment_of_which_only_the_name_is_known_keeps_what_it_has() -> None:
    world = serving(2)
    nameless = replace(deployment(), autoscaling=AutoscalingSpec(), engine=EngineSpec(""))
    seen = replace(world.observe(), spec=nameless, spec_known=False, spec_problem=Reason("Bad", "no number"))
    made = plan(seen, world.now)
    assert made.actions == ()
    assert made.desired == 2


def test_a_model_that_is_not_read_yet_is_waited_for() -> None:
    made = plan(Observed(spec=deployment(), nodes=(gpu_node("od", ON_DEMAND, "a"),)), 0.0)
    assert made.actions == ()
    assert condition(made, ConditionType.MODEL_RESOLVED)[0] is None
    assert made.events == ()


def test_an_impossible_model_says_what_would_help() -> None:
    spec = deployment(model=ModelSpec("deepseek-ai/deepseek-v3"), engine=EngineSpec("engine:1"))
    assert MODEL is not None
    huge = replace(MODEL, parameters=671 * 10**9, weight_bytes=671 * 10**9)
    made = plan(Observed(spec=spec, nodes=(gpu_node("od", ON_DEMAND, "a"),), model=huge), 0.0)
    status, reason = condition(made, ConditionType.PLANNED)
    assert status is False
    assert reason.message
    assert made.actions == ()


def test_a_stale_view_takes_nothing_away() -> None:
    world = serving(2)
    world.taint("spot", SPOT_TAINT)
    stale = Reason("ViewStale", "the watch of pods is 90 s old")
    made = plan(replace(world.observe(), view_stale=stale, workers=()), world.now)
    assert {type(action) for action in made.actions} <= {CreateWorker}
    made = plan(replace(world.observe(), view_stale=stale), world.now)
    assert {type(action) for action in made.actions} <= {CreateWorker}


def test_what_was_said_last_stands_while_the_view_is_stale() -> None:
    world = serving(2)
    stale = Reason("ViewStale", "the watch of pods is 90 s old")
    made = plan(replace(world.observe(), view_stale=stale, workers=(), nodes=()), world.now)
    assert condition(made, ConditionType.READY)[0] is True
    assert condition(made, ConditionType.PROGRESSING) == (None, stale)
    assert made.events == ()


def test_silent_engines_hold_the_number_of_replicas() -> None:
    world = serving(1)
    world.demand = lambda _now: 10
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.demand = lambda _now: 0
    world.deaf = True
    world.run(600)
    assert len(world.endpoints) == 3
    assert condition(world.step(), ConditionType.SCALING_ACTIVE)[0] is False
    world.deaf = False
    world.run_until(lambda w: len(w.workers) == 1, 200)
