"""Reading expositions: a capture of vLLM 0.32 with two requests running and four waiting, and others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from inferfleet.telemetry.engine_metrics import EngineMetrics, read_engine_metrics
from inferfleet.values import Buckets

BUSY = (Path(__file__).parent / "data" / "vllm-0.32-busy.prom").read_text()
LEAST = "vllm:num_requests_running 1\nvllm:num_requests_waiting 2\n"


def read(text: str) -> EngineMetrics:
    metrics = read_engine_metrics(text)
    assert metrics is not None
    return metrics


def test_a_busy_engine_is_read_whole():
    metrics = read(BUSY)
    assert (metrics.running, metrics.waiting) == (2, 4)
    assert (metrics.prompt_tokens_total, metrics.generation_tokens_total) == (240, 1083)
    assert metrics.kv_usage == pytest.approx(0.001465, rel=1e-3)
    assert metrics.kv_cache_tokens == 1_048_576
    assert (metrics.ttft_buckets.bounds[0], metrics.ttft_buckets.counts[0]) == (0.001, 0)
    assert (metrics.ttft_buckets.bounds[-1], metrics.ttft_buckets.total) == (math.inf, 2)
    assert metrics.itl_buckets.total == 1081
    assert metrics.requests_total == 0


def test_buckets_rise_with_their_bounds():
    for buckets in (read(BUSY).ttft_buckets, read(BUSY).itl_buckets):
        assert list(buckets.bounds) == sorted(buckets.bounds)
        assert list(buckets.counts) == sorted(buckets.counts)


def test_a_bucket_without_a_bound_is_none():
    name = "vllm:time_to_first_token_seconds_bucket"
    text = f'{LEAST}{name}{{le="soon"}} 3\n{name} 3\n{name}{{le="0.5"}} 2\n'
    assert read(text).ttft_buckets == Buckets((0.5,), (2,))


def test_waiting_by_reason_is_not_counted_as_waiting():
    text = LEAST + 'vllm:num_requests_waiting_by_reason{reason="capacity"} 40\n'
    assert read(text).waiting == 2


def test_data_parallel_ranks_are_summed_and_their_usage_is_their_mean():
    text = "".join(
        f'vllm:num_requests_running{{engine="{rank}"}} {rank + 1}\n'
        f'vllm:num_requests_waiting{{engine="{rank}"}} 0\n'
        f'vllm:kv_cache_usage_perc{{engine="{rank}"}} {rank * 0.5}\n'
        f'vllm:cache_config_info{{engine="{rank}",block_size="16",num_gpu_blocks="100"}} 1\n'
        for rank in range(2)
    )
    metrics = read(text)
    assert (metrics.running, metrics.kv_usage, metrics.kv_cache_tokens) == (3, 0.25, 3200)


def test_names_of_older_releases_are_understood():
    text = LEAST + 'vllm:gpu_cache_usage_perc 0.5\nvllm:time_per_output_token_seconds_bucket{le="0.1"} 7\n'
    metrics = read(text)
    assert (metrics.kv_usage, metrics.itl_buckets) == (0.5, Buckets((0.1,), (7,)))


def test_finished_requests_are_counted_over_all_reasons_with_the_tokens_of_their_prompts_and_outputs():
    text = LEAST + (
        'vllm:request_success_total{finished_reason="stop"} 3\n'
        'vllm:request_success_total{finished_reason="length"} 4\n'
        "vllm:request_prompt_tokens_sum 700\n"
        "vllm:request_prompt_tokens_count 7\n"
        "vllm:request_generation_tokens_sum 90\n"
    )
    metrics = read(text)
    assert metrics.requests_total == 7
    assert (metrics.request_prompt_tokens_total, metrics.request_output_tokens_total) == (700, 90)


@pytest.mark.parametrize(
    "model",
    ['a } b"', 'x",le="5', "{,le=", "back\\slash", "plain"],
)
def test_whatever_a_model_is_called_its_engine_is_read(model: str):
    escaped = model.replace("\\", "\\\\").replace('"', '\\"')
    name = "vllm:time_to_first_token_seconds_bucket"
    line = f'{name}{{engine="0",model_name="{escaped}",le="0.5",more="{escaped}"}} 3.0 1700000000000\n'
    assert read(LEAST + line).ttft_buckets == Buckets((0.5,), (3,))


def test_what_is_missing_is_not_zero():
    metrics = read(LEAST)
    assert metrics.prompt_tokens_total is None
    assert metrics.kv_usage is None
    assert metrics.kv_cache_tokens is None
    assert not metrics.ttft_buckets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vllm:num_requests_running 1\n",
        "<html>503</html>",
        "vllm:num_requests_running one\nvllm:num_requests_waiting 1\n",
        'vllm:num_requests_running{broken="\nvllm:num_requests_waiting 1\n',
    ],
    ids=["nothing", "half", "not an exposition", "not a number", "cut off"],
)
def test_without_running_and_waiting_there_is_no_evidence(text: str):
    assert read_engine_metrics(text) is None
