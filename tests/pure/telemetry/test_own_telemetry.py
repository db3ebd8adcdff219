"""What the operator says about itself."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace

import pytest

from inferfleet.telemetry.deployment_metrics import decision_numbers
from inferfleet.telemetry.logs import configure_logs
from inferfleet.telemetry.metrics import Metrics
from inferfleet.values import Reason, ScalingDecision


def test_all_series_carry_the_operators_name():
    metrics = Metrics()
    metrics.passes.inc()
    metrics.actions.labels("CreateWorker").inc()
    lines = metrics.exposition().decode().splitlines()
    assert 'inferfleet_actions_total{kind="CreateWorker"} 1.0' in lines
    assert all(line.startswith(("#", "inferfleet_")) for line in lines)


def test_a_decision_is_shown_with_its_numbers_and_the_last_one_is_gone() -> None:
    metrics = Metrics()
    decision = ScalingDecision(
        desired=4,
        reason=Reason("ScalingUp", ""),
        laws=(("queue", 1), ("tokens", 4)),
        limited_by="scale-up rate, bounds",
        demand_tokens_per_second=1500.0,
        foreseen_by="trend",
        panic=True,
    )
    before = replace(decision, limited_by="evidence", ttft_seconds=1.0)
    for one in (before, decision):
        metrics.deployments.show("ns", "llama", decision_numbers(one))
    told = metrics.exposition().decode().splitlines()
    ours = 'deployment="llama"'
    for line in (
        f'inferfleet_scaling_law_replicas{{{ours},law="tokens",namespace="ns"}} 4.0',
        f'inferfleet_scaling_limited{{{ours},limit="bounds",namespace="ns"}} 1.0',
        f'inferfleet_scaling_demand_tokens_per_second{{{ours},namespace="ns"}} 1500.0',
        f'inferfleet_scaling_forecast_trusted{{{ours},forecast="trend",namespace="ns"}} 1.0',
        f'inferfleet_scaling_panic{{{ours},namespace="ns"}} 1.0',
    ):
        assert line in told
    assert not any('limit="evidence"' in line or "first_token_seconds{" in line for line in told)
    metrics.deployments.forget("ns", "llama")
    assert "llama" not in metrics.exposition().decode()


def test_a_deployment_that_is_gone_leaves_no_series():
    metrics = Metrics()
    metrics.deployments.show("ns", "llama", {("queue",): 3.0, ("lost_requests", "crash"): 1.0})
    metrics.deployments.forget("ns", "llama")
    metrics.deployments.forget("ns", "never-seen")
    assert "llama" not in metrics.exposition().decode()


@pytest.fixture
def quiet_root():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.usefixtures("quiet_root")
def test_a_log_line_is_one_json_object_with_its_deployment():
    stream = io.StringIO()
    configure_logs("info", stream)
    logging.getLogger("inferfleet").info("create %s", "w-0", extra={"deployment": "ns/llama"})
    line = json.loads(stream.getvalue())
    assert line["message"] == "create w-0"
    assert (line["level"], line["deployment"]) == ("INFO", "ns/llama")
    assert "time" in line
