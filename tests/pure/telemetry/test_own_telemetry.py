"""What the operator says about itself."""

from __future__ import annotations

import io
import json
import logging

import pytest

from inferfleet.telemetry.logs import configure_logs
from inferfleet.telemetry.metrics import Metrics


def test_all_series_carry_the_operators_name():
    metrics = Metrics()
    metrics.passes.inc()
    metrics.actions.labels("CreateWorker").inc()
    lines = metrics.exposition().decode().splitlines()
    assert 'inferfleet_actions_total{kind="CreateWorker"} 1.0' in lines
    assert all(line.startswith(("#", "inferfleet_")) for line in lines)


def test_a_deployment_that_is_gone_leaves_no_series():
    metrics = Metrics()
    metrics.queue.labels("ns", "llama").set(3)
    metrics.forget("ns", "llama")
    metrics.forget("ns", "never-seen")
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
