"""What the external metrics API answers, without a cluster."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from inferfleet_local.external_metrics import ROOT, answer

NOW = datetime(2026, 11, 21, 12, 0, 0, 999, UTC)


def read(namespace: str, metric: str) -> float | None:
    return {("chat", "waiting"): 2.5, ("chat", "vllm:waiting"): 7.0}.get((namespace, metric))


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/namespaces/chat/waiting", ["2500m"]),
        ("/namespaces/chat/waiting?labelSelector=model%3Dllama", ["2500m"]),
        ("/namespaces/chat/vllm%3Awaiting", ["7000m"]),
        ("/namespaces/chat/unknown", []),
        ("/namespaces/other/waiting", []),
    ],
    ids=["a metric", "with a selector", "an escaped name", "an unknown one", "of another namespace"],
)
def test_a_metric_is_a_list_of_its_value_and_an_unknown_one_is_empty(path: str, values: list[str]):
    status, body = answer(ROOT + path, NOW, read)
    assert (status, body["kind"]) == (200, "ExternalMetricValueList")
    items = body["items"]
    assert isinstance(items, list)
    assert [item["value"] for item in items] == values
    assert all(item["timestamp"] == "2026-11-21T12:00:00Z" for item in items)


def test_the_root_is_the_list_that_the_aggregator_asks_for():
    for path in (ROOT, f"{ROOT}/", f"{ROOT}?timeout=32s"):
        assert answer(path, NOW, read)[1]["groupVersion"] == "external.metrics.k8s.io/v1beta1"


@pytest.mark.parametrize("path", ["/namespaces/chat", "/namespaces/chat/waiting/more", "/openapi/v2"])
def test_all_else_is_not_found(path: str):
    assert answer(ROOT + path, NOW, read)[0] == 404
