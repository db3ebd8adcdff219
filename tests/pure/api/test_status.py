"""Plans as users read them, and what a restarted operator reads back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendered import H100_TP4

from inferfleet.api import InferenceDeploymentStatus, State, memory_from_status, status_from_plan
from inferfleet.api.report import short_model, significant
from inferfleet.values import (
    Accelerator,
    Account,
    CapacityMemory,
    CapacityType,
    Condition,
    ConditionType,
    DeploymentSpec,
    EngineSpec,
    Interruption,
    InterruptionKind,
    Layout,
    LossCause,
    Memory,
    ModelSpec,
    Observed,
    Offer,
    OfferKey,
    Plan,
    Planning,
    PodPhase,
    Pool,
    Prediction,
    Reason,
    Refusal,
    Rejected,
    ScalingDecision,
    ScalingMemory,
    Worker,
    WorkerPod,
)

NOW = 1_780_000_000.0
SPOT_A = OfferKey("h100-x8", CapacityType.SPOT, "a")
ON_DEMAND = OfferKey("h100-x8", CapacityType.ON_DEMAND, "a")
SPEC = DeploymentSpec(
    "llama", "chat", "u", 3, ModelSpec("meta-llama/Llama-3.1-70B-Instruct"), EngineSpec(image="x")
)


def worker(name: str, offer: OfferKey, *, ready: bool = True, phase: PodPhase = PodPhase.RUNNING) -> Worker:
    return Worker(name, "r1", offer, (WorkerPod(name, name, 0, phase, NOW, ready=ready),))


def condition(kind: ConditionType, *, status: bool | None, message: str = "because") -> Condition:
    return Condition(kind, status, Reason("Because", message))


OBSERVED = Observed(
    spec=SPEC,
    workers=(
        worker("w0", ON_DEMAND),
        worker("w1", SPOT_A),
        worker("w2", SPOT_A, ready=False),
        worker("w3", SPOT_A, ready=False, phase=PodPhase.FAILED),
    ),
)
MEMORY = Memory(
    layout=H100_TP4,
    revision="r1",
    planned_from="f00",
    conditions=(
        condition(ConditionType.READY, status=True),
        condition(ConditionType.PLANNED, status=True, message="cheapest of 14 candidates"),
        condition(ConditionType.DISRUPTED, status=False),
    ),
    scaling=ScalingMemory(desired=3, changed_at=NOW - 60, tokens_per_second_per_replica=2000.5),
    capacity=CapacityMemory(
        losses=((SPOT_A, NOW - 30.5),),
        spot_short_since=NOW - 10,
        targets=((CapacityType.SPOT, 2), (CapacityType.ON_DEMAND, 1)),
        failures=(NOW - 5,),
    ),
    interruptions=(
        Interruption(InterruptionKind.INTERRUPTION, "node-1", NOW - 3, NOW + 117, "taint"),
        Interruption(InterruptionKind.LOST, "node-2", NOW - 3, None, "node"),
    ),
    lost=((LossCause.NODE_LOST, 3), (LossCause.CRASH, 1)),
    accounts=(
        Account("w1", "host-1", NOW, 2, (("deadline", 1.0), ("error", 3.0))),
        Account("w2", "host-2", NOW, 0),
    ),
)
PLAN = Plan(
    actions=(),
    events=(),
    memory=MEMORY,
    planning=Planning(
        layout=H100_TP4,
        refusal=None,
        rejected=tuple(Rejected(f"H100 TP{n}", Reason("TooSmall", "no")) for n in range(20)),
    ),
    decision=ScalingDecision(
        desired=3,
        reason=Reason("ScaleUp", "queue of 12.4"),
        laws=(("queue", 3), ("tokens", 2)),
        limited_by="maxReplicas",
        queue=12.4,
        running=7.0,
        tokens_per_second=6810.123,
        capacity_tokens_per_second=8000.0,
    ),
    pools=(
        Pool(
            "h100-x8",
            Accelerator("H100", 80 * 2**30, 3.35e12, 9.89e14),
            8,
            2,
            (),
            offers=(
                Offer("h100-x8", CapacityType.SPOT, "a", 2.9, "GPUPool", nodes=1, gpus=8, free_gpus=2),
                Offer("h100-x8", CapacityType.ON_DEMAND, "a", 4.1, "GPUPool", nodes=1, gpus=8, free_gpus=4),
            ),
        ),
    ),
    ready=2,
    desired=3,
    spot_ready=1,
    dollars_per_hour=176.1234,
    dollars_per_million_tokens=7.18349,
    next_look_seconds=5.0,
)
EMPTY = InferenceDeploymentStatus()


def leaving(**memory: Any) -> Plan:
    return replace(PLAN, memory=replace(MEMORY, **memory))


def status(
    plan: Plan = PLAN, observed: Observed = OBSERVED, previous: InferenceDeploymentStatus = EMPTY
) -> Any:
    return status_from_plan(plan, previous, 3, NOW, observed=observed)


def through_the_api(written: InferenceDeploymentStatus) -> InferenceDeploymentStatus:
    """Return the status as it comes back: JSON without nulls, whole floats as integers as Go writes them."""
    body = json.loads(written.model_dump_json(by_alias=True, exclude_none=True))

    def like_go(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: like_go(child) for key, child in value.items()}
        if isinstance(value, list):
            return [like_go(child) for child in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return InferenceDeploymentStatus.model_validate(like_go(body))


def test_the_columns() -> None:
    written = status()
    assert written.model == "Llama-3.1-70B-I…"
    assert written.plan.summary == "H100-SXM TP4"
    assert (written.replicas, written.ready_replicas, written.desired_replicas) == (3, 2, 3)
    assert (written.spot_ready_replicas, written.queue, written.tokens_per_second) == (1, 12, 6810)
    assert (written.cost.dollars_per_hour, written.cost.dollars_per_million_tokens) == (176.1, 7.183)
    assert (written.state, written.observed_generation, written.lost_requests) == (State.READY, 3, 4)
    assert written.selector == "inferfleet.dev/deployment=llama,inferfleet.dev/rank=0"


def test_the_plan_says_why_and_what_it_was_preferred_to() -> None:
    written = status()
    assert written.plan.why == "cheapest of 14 candidates"
    assert written.plan.predicted.concurrency == 48
    assert [rejected.candidate for rejected in written.rejected] == [f"H100 TP{n}" for n in range(8)]


def test_the_placement_counts_what_is_there_and_what_serves() -> None:
    assert [(p.capacity_type, p.zone, p.replicas, p.ready) for p in status().capacity.placement] == [
        (CapacityType.SPOT, "a", 2, 1),
        (CapacityType.ON_DEMAND, "a", 1, 1),
    ]


def test_pools_are_summed_over_their_offers() -> None:
    (pool,) = status().pools
    assert (pool.accelerator, pool.nodes, pool.gpus, pool.free, pool.dollars_per_gpu_hour) == (
        "H100",
        2,
        16,
        6,
        2.9,
    )


def test_an_unchanged_plan_gives_an_unchanged_status_later_too() -> None:
    first = status()
    later = status_from_plan(PLAN, through_the_api(first), 3, NOW + 100, observed=OBSERVED)
    assert later == first


def test_a_condition_keeps_its_transition_time_until_its_status_changes() -> None:
    first = status()
    said = leaving(conditions=(condition(ConditionType.READY, status=True, message="still"),))
    turned = leaving(conditions=(condition(ConditionType.READY, status=False, message="no more"),))
    unknown = leaving(conditions=(condition(ConditionType.READY, status=None),))
    times = [
        status_from_plan(plan, first, 3, NOW + 60, observed=OBSERVED).conditions[0]
        for plan in (said, turned, unknown)
    ]
    assert [c.status for c in times] == ["True", "False", "Unknown"]
    assert [c.last_transition_time for c in times] == [
        "2026-05-28T20:26:40Z",
        "2026-05-28T20:27:40Z",
        "2026-05-28T20:27:40Z",
    ]
    assert times[0].message == "still"


def test_what_must_survive_a_restart_comes_back() -> None:
    told = replace(MEMORY.accounts[0], at=0.0, in_flight=0)
    kept = replace(
        MEMORY,
        scaling=replace(MEMORY.scaling, samples={}, recommendations=()),
        accounts=(told,),  # only of those that lost any
    )
    assert memory_from_status(through_the_api(status())) == kept


def test_a_first_pass_remembers_nothing() -> None:
    assert memory_from_status(EMPTY) == Memory()


def test_a_newer_release_may_have_written_more() -> None:
    body = json.loads(status().model_dump_json(by_alias=True, exclude_none=True))
    body["fromTheFuture"] = {"x": 1}
    body["conditions"].append(
        {"type": "Shiny", "status": "True", "reason": "New", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    )
    memory = memory_from_status(InferenceDeploymentStatus.model_validate(body))
    assert memory.conditions == MEMORY.conditions


REFUSED = Planning(None, Refusal(Reason("TooLarge", "needs 4 GiB more"), "2 x H200 would fit"))
DISRUPTED = (
    condition(ConditionType.DISRUPTED, status=True),
    condition(ConditionType.READY, status=True),
)
NOT_READY = (condition(ConditionType.READY, status=False),)
STATES: dict[State, tuple[Plan, dict[str, Any], dict[str, Any]]] = {
    State.READY: (PLAN, {}, {}),
    State.TERMINATING: (PLAN, {}, {"deleted_at": NOW}),
    State.PAUSED: (PLAN, {}, {"paused": True}),
    State.INVALID: (PLAN, {"spec_problem": Reason("InvalidSpec", "no")}, {}),
    State.REFUSED: (replace(PLAN, planning=REFUSED), {}, {}),
    State.DISRUPTED: (leaving(conditions=DISRUPTED), {}, {}),
    State.SCALED_TO_ZERO: (replace(leaving(conditions=()), desired=0, ready=0), {"workers": ()}, {}),
    State.DEGRADED: (leaving(conditions=NOT_READY), {}, {}),
    State.STARTING: (replace(leaving(conditions=()), ready=0), {}, {}),
    State.PENDING: (replace(leaving(conditions=(), layout=None), ready=0), {}, {}),
}


@pytest.mark.parametrize("state", State)
def test_the_deployment_in_one_word(state: State) -> None:
    plan, observed, spec = STATES[state]
    seen = replace(OBSERVED, spec=replace(SPEC, **spec), **observed)
    assert status(plan, seen).state is state


def test_a_refusal_says_what_would_fit() -> None:
    refusal = status(replace(PLAN, planning=REFUSED)).refusal
    assert (refusal.reason, refusal.message, refusal.nearest) == (
        "TooLarge",
        "needs 4 GiB more",
        "2 x H200 would fit",
    )


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("org/short", "short"),
        ("pvc://claim/a/tiny-llama/", "tiny-llama"),
        ("Qwen/Qwen3-235B-A22B-Instruct", "Qwen3-235B-A22B…"),
    ],
)
def test_a_model_fits_its_column(model: str, shown: str) -> None:
    assert short_model(model) == shown


@pytest.mark.parametrize(
    ("figure", "shown"), [(0.0, 0.0), (176.1234, 176.1), (0.0123456, 0.01235), (12345.6, 12350.0)]
)
def test_figures_keep_four_digits(figure: float, shown: float) -> None:
    assert significant(figure) == pytest.approx(shown, rel=1e-12)


FINITE = st.floats(min_value=0, max_value=1e15, allow_nan=False)
COUNTS = st.integers(min_value=1, max_value=2**40)
LAYOUTS = st.builds(
    Layout,
    pool=st.text(),
    accelerator=st.text(),
    tensor_parallel=COUNTS,
    pipeline_parallel=COUNTS,
    max_model_len=COUNTS,
    max_num_seqs=COUNTS,
    max_num_batched_tokens=COUNTS,
    gpu_memory_utilization=FINITE,
    weights_bytes_per_gpu=COUNTS,
    kv_cache_tokens=COUNTS,
    prediction=st.builds(Prediction, FINITE, FINITE, FINITE, FINITE, COUNTS, FINITE),
    data_parallel=COUNTS,
    expert_parallel=st.booleans(),
    nodes_per_replica=COUNTS,
    quantization=st.none() | st.text(min_size=1),
    kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
    warnings=st.lists(st.builds(Reason, st.text(), st.text()), max_size=3).map(tuple),
)


@given(LAYOUTS)
def test_any_layout_comes_back_as_it_was(layout: Layout) -> None:
    written = status(leaving(layout=layout))
    assert memory_from_status(through_the_api(written)).layout == layout
