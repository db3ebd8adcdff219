"""`inferfleet simulate`: a table, JSON, a page that needs nothing else, and words for what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner

from inferfleet.cli import main

DEPLOYMENT = """
apiVersion: inferfleet.dev/v1alpha1
kind: InferenceDeployment
metadata: {name: chat}
spec:
  model: {id: mistralai/mistral-7b-instruct-v0.3, contextLength: 8192}
  objectives: {percentile: 90, timeToFirstToken: 2s, interTokenLatency: 100ms}
  workload: {promptTokens: 500, outputTokens: 150}
  autoscaling: {minReplicas: 1, maxReplicas: 4}
"""
POOL = """---
apiVersion: inferfleet.dev/v1alpha1
kind: GPUPool
metadata: {name: l4}
spec: {accelerator: {name: L4}, gpusPerNode: 1, pricePerGpuHour: {onDemand: 1.5}}
"""
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{second // 60:02}:{second % 60:02}.0000000,400,50\n" for second in range(120)
)
KEYS = {
    "slo_attainment",
    "cost_dollars",
    "gpu_hours",
    "cost_over_optimum",
    "requests",
    "lost",
    "scale_events",
}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "chat.yaml").write_text(DEPLOYMENT + POOL)
    (tmp_path / "bare.yaml").write_text(DEPLOYMENT)
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    named = {path.name: str(path) for path in tmp_path.iterdir()} | {"page": str(tmp_path / "page.html")}
    with chdir(tmp_path):
        yield named


def asked(files: dict[str, str], line: str) -> list[str]:
    return ["simulate", *(files.get(word, word) for word in line.split())]


def test_each_policy_is_an_object_and_the_page_needs_nothing_else(files: dict[str, str]):
    line = "--deployment chat.yaml --trace trace.csv --policy inferfleet --policy keda-queue --seeds 2"
    done = CliRunner().invoke(main, asked(files, f"{line} --report page -o json"))
    assert done.exit_code == 0, done.output
    said = [json.loads(each) for each in done.output.splitlines()]
    assert [each["policy"] for each in said] == ["inferfleet", "keda-queue", "optimum"]
    assert all(each.keys() >= KEYS for each in said)
    assert said[0]["requests"] == 120
    assert said[0]["cost_dollars"] == pytest.approx(said[0]["gpu_hours"] * 1.5, rel=0.01)
    assert said[-1]["cost_over_optimum"] == 1.0
    page = Path(files["page"]).read_text()
    assert page.count("<svg") == page.count("</svg>") == 6
    assert "<script" not in page
    assert set(re.findall(r'https?://[^"\s<]+', page)) == {"http://www.w3.org/2000/svg"}


def test_the_table_has_a_row_for_each_policy(files: dict[str, str]):
    line = "--deployment bare.yaml --gpu L4:1 --load constant:rate=0.5,for=2m --no-optimum --policy kpa"
    done = CliRunner().invoke(main, asked(files, line))
    assert done.exit_code == 0, done.output
    assert "SLO attainment" in done.output
    assert re.search(r"^ *kpa .*%", done.output, re.MULTILINE)
    assert "on L4 TP1" in done.output
    assert "<svg" in Path("simulation.html").read_text(), "the page is written unasked"


def test_without_pools_the_planner_takes_what_is_cheapest_of_all(files: dict[str, str]):
    done = CliRunner().invoke(main, asked(files, "--deployment bare.yaml --trace trace.csv --no-optimum"))
    assert done.exit_code == 0, done.output
    assert re.search(r" on \S+ TP1, routed random", done.output)


@pytest.mark.parametrize(
    ("routing", "provider"), [("random", "aws"), ("round-robin", "azure"), ("least-requests", "gke")]
)
def test_routings_and_providers_have_the_names_that_are_documented(
    files: dict[str, str], routing: str, provider: str
):
    line = f"--deployment chat.yaml --trace trace.csv --routing {routing} --provider {provider} --duration 5s"
    done = CliRunner().invoke(main, asked(files, f"{line} --no-optimum"))
    assert done.exit_code == 0, done.output
    assert f"routed {routing}" in done.output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--deployment chat.yaml", "give either --trace or --load"),
        ("--deployment trace.csv --trace trace.csv", "0 InferenceDeployments"),
        ("--deployment chat.yaml --trace odd.csv", "window_start_s,requests_per_s"),
        ("--deployment chat.yaml --trace trace.csv --policy magic", "known are all, inferfleet"),
        ("--deployment chat.yaml --load wave:rate=1", "shapes are constant:rate="),
        ("--deployment chat.yaml --load constant:for=1m", "'rate' is missing"),
        ("--deployment chat.yaml --load constant:rate=fast", "is no number"),
        ("--deployment chat.yaml --trace trace.csv --spot a=2", "a share between 0 and 1"),
        ("--deployment chat.yaml --trace trace.csv --cold-start pull=soon", "is not a duration"),
        ("--deployment chat.yaml --trace trace.csv --report nowhere/page.html", "Could not open file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(files: dict[str, str], line: str, words: str):
    done = CliRunner().invoke(main, asked(files, f"{line} --no-optimum"))
    assert done.exit_code
    assert words in done.output
    assert "Traceback" not in done.output
