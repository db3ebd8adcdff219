"""Choosing between sources, and the queries that one of them asks."""

from __future__ import annotations

from typing import Never

from inferfleet.telemetry.engine_metrics import INTER_TOKEN, KV_USAGE, RUNNING
from inferfleet.telemetry.prometheus import QUERIES, read_fleet
from inferfleet.telemetry.source import Newest, Target
from inferfleet.values import EngineSample


class Known:
    """A source that knows what it knows."""

    def __init__(self, *samples: EngineSample) -> None:
        self._samples = samples

    def samples(self, _deployment: str) -> tuple[EngineSample, ...]:
        return self._samples

    async def run(self) -> Never:
        raise NotImplementedError


def sample(worker: str, at: float, running: float = 0) -> EngineSample:
    return EngineSample(worker, at, running, 0)


def test_of_two_sources_the_newer_sample_of_each_worker_counts():
    early, late = sample("a", 1.0), sample("a", 2.0, running=3)
    both = Newest(Known(early, sample("b", 5.0)), Known(late, sample("b", 4.0, running=9)))
    assert both.samples("ns/x") == (late, sample("b", 5.0))


def test_every_signal_is_one_query_over_all_pods():
    assert QUERIES[RUNNING] == "sum by (namespace, pod) (vllm:num_requests_running)"
    assert QUERIES[KV_USAGE] == (
        "avg by (namespace, pod) (vllm:kv_cache_usage_perc)"
        " or (avg by (namespace, pod) (vllm:gpu_cache_usage_perc)"
        " unless on (namespace, pod) avg by (namespace, pod) (vllm:kv_cache_usage_perc))"
    )
    assert "by (namespace, pod, le)" in QUERIES[INTER_TOKEN]


def test_a_pod_that_was_not_scraped_has_no_sample():
    fleet = read_fleet([[], *([] for _ in QUERIES)])
    assert fleet.sample(Target("ns/x", "a", "1", "a")) is None


def test_a_gauge_of_which_only_a_half_arrived_is_no_sample_of_the_engine():
    point = {"metric": {"namespace": "ns", "pod": "a"}, "value": [9.0, "1"]}
    answers = [[point] if names is RUNNING else [] for names in QUERIES]
    fleet = read_fleet([[{**point, "value": [9.0, "8.5"]}], *answers])
    assert fleet.sample(Target("ns/x", "a", "1", "a")) is None
