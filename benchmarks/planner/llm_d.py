"""Hold llm-d-planner beside this planner: `python benchmarks/planner/llm_d.py FOLDER`.

FOLDER is where it was installed (`pip install --target FOLDER llm-d-planner==0.3.3`); it is no dependency.
Two things of it run without the hub, a server or a database of one's own:

- its memory formula, given the size of the weights from our catalogue (it would ask the hub), on the same
  engine starts as `memory.py`;
- its choice by the benchmarks that it bundles (a simulation of vLLM 0.8.4): of each model on each GPU the
  width that serves the most requests per GPU within the objectives. Each side's choice is judged by the
  other's figures; a width that the other side says misses the objectives counts as wrong.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from calibration import pool, spec
from memory import STARTS, WITHIN, model_of, start

from inferfleet.planning import catalogue_facts, find_accelerator
from inferfleet.planning.accelerators import GIB
from inferfleet.planning.memory import weights_bytes_per_gpu
from inferfleet.planning.search import search
from inferfleet.planning.split import Split
from inferfleet.values import Objectives, Workload

CLOSE = 0.95
LOADS = ((512, 256), (4096, 512), (1024, 1024))
# milliseconds to the first token and between tokens, at the 95th percentile
BOUNDS = ((1000, 40), (5000, 100))
UNBOUNDED = 10**9


def memory(capacity: Any) -> None:
    """Print how many starts each formula puts within the target: KV bytes both."""
    theirs = ours = count = 0
    with STARTS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        model, gpu = model_of(row["model"], row["quantization"]), find_accelerator(row["gpu"])
        said = float(row["kv_gib"])
        if not gpu or said <= 0:
            continue
        tensor = int(row["tensor"])
        config = SimpleNamespace(architectures=[model.architecture])
        if model.experts:
            config.num_experts = model.experts
        weights = weights_bytes_per_gpu(model, Split(tensor)) / GIB
        space = (
            gpu.memory_bytes / GIB * float(row["utilization"])
            - weights
            - capacity.estimate_vllm_activation_memory(config, tp=tensor) / tensor
            - capacity.estimate_vllm_non_torch_memory(tensor, 1)
        )
        count += 1
        theirs += abs(max(space, 0.0) / said - 1) <= WITHIN
        ours += start({**row, "concurrency": ""}, "").good
    print(f"KV bytes within {WITHIN:.0%} of {count} starts: llm-d-planner {theirs}, this planner {ours}")


@dataclass(frozen=True, slots=True)
class Question:
    """A model on a GPU under a load and bounds."""

    model: str
    gpu: str
    load: tuple[int, int]
    bounds: tuple[int, int]


def their_rates(repository: Any) -> dict[Question, dict[int, float]]:
    """Requests/s per GPU of each width in the bundled benchmarks, where there are two or more."""
    found: dict[Question, dict[int, float]] = defaultdict(dict)
    every = repository.get_all_benchmarks()
    for load in LOADS:
        measured = {
            (each.model_hf_repo, each.hardware, each.hardware_count)
            for each in every
            if (each.prompt_tokens, each.output_tokens) == load
        }
        for bounds in BOUNDS:
            rows = repository.find_configurations_meeting_slo(*load, *bounds, UNBOUNDED)
            rates = {(row.model_hf_repo, row.hardware, row.hardware_count): row for row in rows}
            for model, gpu, width in measured:
                row = rates.get((model, gpu, width))
                rate = row.requests_per_second / width if row else 0.0
                found[Question(model, gpu, load, bounds)][width] = rate
    return {asked: widths for asked, widths in found.items() if len(widths) > 1 and any(widths.values())}


def our_rates(asked: Question, widths: dict[int, float]) -> dict[int, float]:
    """Tokens/s per GPU of the same widths; empty where model or GPU is not recorded."""
    model = catalogue_facts(asked.model)
    gpu = find_accelerator({"A100-80": "A100-80GB"}.get(asked.gpu, asked.gpu))
    if not model or not gpu:
        return {}
    ttft, itl = asked.bounds
    question = replace(
        spec(asked.model, strict=True),
        objectives=Objectives(95, ttft / 1e3, itl / 1e3),
        workload=Workload(*asked.load),
    )
    rates = dict.fromkeys(widths, 0.0)
    for outcome in search(model, [pool(gpu.name)], question).outcomes:
        split = outcome.candidate.split
        if split.gpus == split.tensor and split.tensor in rates:
            rate = outcome.layout.prediction.tokens_per_second / split.gpus
            rates[split.tensor] = max(rates[split.tensor], rate)
    return rates if any(rates.values()) else {}


def choices(repository: Any) -> None:
    """Print each side's width per question, and how often it is within 5 % of the other's best."""
    count = theirs_good = ours_good = same = 0
    for asked, theirs in sorted(their_rates(repository).items(), key=lambda pair: str(pair[0])):
        ours = our_rates(asked, theirs)
        if not ours:
            continue
        their_pick = max(theirs, key=lambda width: (theirs[width], -width))
        our_pick = max(ours, key=lambda width: (ours[width], -width))
        by_ours = ours[their_pick] / ours[our_pick]
        by_theirs = theirs[our_pick] / theirs[their_pick]
        count += 1
        same += their_pick == our_pick
        theirs_good += by_ours >= CLOSE
        ours_good += by_theirs >= CLOSE
        print(
            f"{asked.model:50} {asked.gpu:8} {asked.load!s:12} {asked.bounds!s:12} "
            f"theirs TP{their_pick} ({by_ours:4.0%} by ours)   ours TP{our_pick} ({by_theirs:4.0%} by theirs)"
        )
    print(f"\n{count} questions, the same width in {same}; within 5 % of the best by the other's figures:")
    print(f"  llm-d-planner {theirs_good}, this planner {ours_good}")


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    # last on the path: its dependencies are not to replace ours
    sys.path.append(str(parser.parse_args().folder))
    memory(import_module("planner.capacity_planner"))
    library = import_module("planner.knowledge_base.benchmarks")
    data = Path(str(import_module("planner").__file__)).parent / "data" / "performance"
    choices(library.BenchmarkRepository.from_files(data / "benchmarks_BLIS.json", db_path=":memory:"))


if __name__ == "__main__":
    main()
