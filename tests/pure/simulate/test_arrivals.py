"""Traces of three forms, cut and scaled while they are read; generated loads with the rate asked for."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean, pstdev

import pytest

from inferfleet.simulate.arrivals import Trace, TraceError, length_seconds
from inferfleet.simulate.generate import Generated, Sizes, constant, diurnal, renewal, spike
from inferfleet.simulate.policy import Request

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:17:46.6805900,4000,7
"""
MOONCAKE = "\n".join(
    json.dumps({"timestamp": at, "input_length": size, "output_length": 5, "hash_ids": [0, 1]})
    for at, size in ((1000, 6758), (1000, 20), (4500, 30))
)
RATES = "window_start_s,requests_per_s\n0,10\n600,0\n1200,5\n"

FORMS = {
    "Azure's CSV": (AZURE, [(0.0, 374, 44), (4.314579, 396, 109), (120.0, 4000, 7)]),
    "Mooncake's JSON lines": (MOONCAKE, [(0.0, 6758, 5), (0.0, 20, 5), (3.5, 30, 5)]),
}


def trace_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "requests"), FORMS.values(), ids=FORMS.keys())
def test_a_trace_is_read_from_its_first_request_on(
    tmp_path: Path, text: str, requests: list[tuple[float, int, int]]
):
    read = list(Trace(trace_of(tmp_path, text)).stream(1))
    assert [(pytest.approx(at), prompt, output) for at, prompt, output in requests] == read


def test_a_curve_of_rates_gives_as_many_requests_as_it_says(tmp_path: Path):
    path = trace_of(tmp_path, RATES)
    read = list(Trace(path, sizes=Sizes(100, 50)).stream(1))
    assert length_seconds(path) == 1800
    assert sum(request.at < 600 for request in read) == pytest.approx(6000, rel=0.05)
    assert not [request for request in read if 600 <= request.at < 1200]
    assert sum(request.at >= 1200 for request in read) == pytest.approx(3000, rel=0.08)
    assert fmean(request.prompt_tokens for request in read) == pytest.approx(100, rel=0.05)


def test_a_part_of_a_trace_begins_at_zero(tmp_path: Path):
    part = Trace(trace_of(tmp_path, AZURE), start_seconds=4.0, duration_seconds=60.0)
    assert [(request.at, request.prompt_tokens) for request in part.stream(1)] == [
        (pytest.approx(0.314579), 396)
    ]


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 1.5, 3.0])
def test_a_scaled_trace_has_so_many_times_the_requests_in_order(tmp_path: Path, scale: float):
    lines = "\n".join(
        json.dumps({"timestamp": at * 100, "input_length": 10, "output_length": 5}) for at in range(4000)
    )
    read = list(Trace(trace_of(tmp_path, lines), scale=scale).stream(1))
    assert len(read) == pytest.approx(4000 * scale, rel=0.06)
    assert read == sorted(read, key=lambda request: request.at)


@pytest.mark.parametrize(
    "text", ["", "hello\n1,2,3\n", AZURE + "2023-11-16 18:18:46.1,many,7\n", '{"at": 1}\n']
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str):
    with pytest.raises(TraceError, match="trace"):
        list(Trace(trace_of(tmp_path, text)).stream(1))


def test_memory_does_not_grow_with_the_trace(tmp_path: Path):
    path = tmp_path / "long"
    with path.open("w") as lines:
        lines.writelines(
            f'{{"timestamp": {at * 10}, "input_length": 10, "output_length": 5}}\n' for at in range(60_000)
        )
    tracemalloc.start()
    count = sum(1 for _ in Trace(path, scale=1.5).stream(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count > 60_000
    assert peak < 2_000_000


@pytest.mark.parametrize("burstiness", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_the_burstiness_asked_for(burstiness: float):
    instants = list(renewal(constant(10.0, 4000.0), burstiness, Random(1)))
    gaps = [after - before for before, after in pairwise(instants)]
    assert len(instants) == pytest.approx(40_000, rel=0.05)
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(burstiness, rel=0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("curve", "spans"),
    [
        (spike(2.0, 20.0, 600.0, 300.0, 1800.0), [(0, 600, 2.0), (600, 900, 20.0), (900, 1800, 2.0)]),
        (spike(2.0, 8.0, 600.0, 9999.0, 1800.0), [(0, 600, 2.0), (600, 1800, 8.0)]),
        (diurnal(1.0, 9.0, 7200.0, 7200.0), [(0, 600, 1.1), (3300, 3900, 8.9), (0, 7200, 5.0)]),
    ],
    ids=["a spike", "a step", "a day"],
)
def test_a_generated_load_follows_its_curve(
    curve: tuple[tuple[float, float], ...], spans: list[tuple[float, float, float]]
):
    read = list(Generated(curve).stream(1))
    for start, end, rate in spans:
        inside = sum(start <= request.at < end for request in read)
        assert inside == pytest.approx(rate * (end - start), rel=0.12)


def test_the_same_seed_gives_the_same_requests_and_another_one_others():
    source = Generated(constant(5.0, 100.0))
    first: list[Request] = list(source.stream(1))
    assert first == list(source.stream(1))
    assert first != list(source.stream(2))
