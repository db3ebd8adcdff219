"""Autoscaling as users write it and read it: schedules in, decisions out, and what survives a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_world import SmallWorld, deployment, gpu_node

from inferfleet.api import InferenceDeployment, InferenceDeploymentStatus, SpecError
from inferfleet.api.scaling import ScalingStatus, scaling_memory, scaling_status
from inferfleet.values import (
    CapacityType,
    ConditionType,
    Foresight,
    Reason,
    ScalingDecision,
    ScalingMemory,
    Schedule,
)

SALE = {"name": "sale", "start": "0 12 * * 5", "duration": "90m", "minReplicas": 6}


def parse(autoscaling: dict[str, Any], **spec: Any) -> InferenceDeployment:
    return InferenceDeployment.parse(
        {
            "apiVersion": "inferfleet.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "metadata": {"name": "llama", "namespace": "chat", "uid": "u-1", "generation": 3},
            "spec": {"model": {"id": "org/model"}, "autoscaling": autoscaling} | spec,
        }
    )


def test_a_schedule_is_read_with_its_zone_and_its_end() -> None:
    written = {**SALE, "timeZone": "Europe/Berlin", "maxReplicas": 30}
    (schedule,) = parse({"schedules": [written]}).to_values().autoscaling.schedules
    assert schedule == Schedule("sale", "Europe/Berlin", "0 12 * * 5", None, 5400.0, 6, 30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "0 25 * * *"}, "'0 25 * * *' is no cron expression: Bad hour"),
        ({"start": "0 0 30 2 *"}, "is no cron expression"),
        ({"start": "0 0 0 * * *"}, "no cron expression of five fields"),
        ({"timeZone": "Europe/Bielefeld"}, "'Europe/Bielefeld' is no IANA time zone"),
        ({"timeZone": "../../etc/passwd"}, "is no IANA time zone"),
        ({"end": "0 14 * * 5"}, "a schedule needs either end or duration"),
        ({"duration": None}, "a schedule needs either end or duration"),
        ({"minReplicas": None}, "a schedule needs minReplicas, maxReplicas, or both"),
        ({"maxReplicas": 5}, "minReplicas must not be more than maxReplicas"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_in_plain_words(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=r"autoscaling\.schedules\.0") as refusal:
        parse({"schedules": [{**SALE, **changes}]})
    assert message in refusal.value.message


WEEK = tuple(-1.0 if n % 7 == 0 else float(n) for n in range(1008))
MEMORY = ScalingMemory(
    desired=3,
    changed_at=1_800_000_000.0,
    tokens_per_second_per_replica=412.5,
    predicted_tokens_per_second=502.0,
    busy_tokens_per_second=640.0,
    prompt_tokens=1155.3,
    output_tokens=211.2,
    cold_starts=(61.5, 240.0),
    foresight=Foresight(week=WEEK, errors=(9.5, 4.25, 8.0, 3.0), judged=(60, 31)),
)


def test_what_was_learned_survives_a_restart_to_within_half_a_percent_of_the_peak() -> None:
    status = scaling_status(None, MEMORY)
    text = status.model_dump_json(by_alias=True, exclude_none=True)
    assert len(text) < 2400, "a week of demand must not weigh on every write of the status"
    back = scaling_memory(ScalingStatus.model_validate_json(text))
    assert replace(back, foresight=replace(back.foresight, week=WEEK)) == MEMORY
    for known, kept in zip(WEEK, back.foresight.week, strict=True):
        assert kept == pytest.approx(known, abs=1007 / 254 / 2 + 0.01)


@pytest.mark.parametrize("week", ["", "no base64!", "AAAA"])
def test_a_week_that_is_none_is_forgotten(week: str) -> None:
    status = scaling_status(None, MEMORY)
    assert status.foresight is not None
    spoiled = status.model_copy(update={"foresight": status.foresight.model_copy(update={"week": week})})
    assert scaling_memory(spoiled).foresight.week == ()


def test_a_decision_is_told_with_all_its_numbers() -> None:
    decision = ScalingDecision(
        desired=4,
        reason=Reason("ScalingUp", "3 to 4 replicas"),
        laws=(("queue", 1), ("tokens", 4)),
        limited_by="scale-up rate",
        demand_tokens_per_second=1500.04,
        arrivals_per_second=6.123,
        capacity_tokens_per_second=412.5,
        ttft_seconds=0.81234,
        itl_seconds=0.031234,
        forecast_tokens_per_second=1600.0,
        foreseen_by="trend",
        utilization=0.9,
        cold_start_seconds=240.0,
        schedule="sale",
        panic=True,
    )
    told = scaling_status(decision, MEMORY)
    assert [(law.law, law.replicas) for law in told.laws] == [("queue", 1), ("tokens", 4)]
    assert (told.limited_by, told.schedule, told.panic) == ("scale-up rate", "sale", True)
    assert (told.demand_tokens_per_second, told.arrivals_per_second) == (1500.0, 6.12)
    assert (told.forecast_tokens_per_second, told.foreseen_by) == (1600.0, "trend")
    assert (told.time_to_first_token_seconds, told.inter_token_latency_seconds) == (0.812, 0.0312)
    assert (told.capacity_tokens_per_second, told.utilization, told.cold_start_seconds) == (412.5, 0.9, 240.0)


def test_in_external_mode_what_is_written_to_the_scale_subresource_rules_and_the_operator_says_so() -> None:
    node = gpu_node("od", CapacityType.ON_DEMAND, "zone-a")
    autoscaling = parse({"mode": "External", "minReplicas": 1}, replicas=3).to_values().autoscaling
    world = SmallWorld(deployment(autoscaling), {"od": node})
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.demand = lambda _now: 40
    world.run(60)
    assert len(world.workers) == 3, "the load is someone else's business"
    assert world.last is not None
    said = {c.type: (c.status, c.reason) for c in world.last.conditions}[ConditionType.SCALING_ACTIVE]
    assert said == (True, Reason("ExternalScaling", "spec.replicas asks for 3"))
    status = world.status()
    assert isinstance(status, InferenceDeploymentStatus)
    assert (status.scaling.reason, status.replicas, status.selector) == (
        "ExternalScaling",
        3,
        "inferfleet.dev/deployment=chat,inferfleet.dev/rank=0",
    )
