"""Hold the memory model against reference values and real engines: `python benchmarks/planner/memory.py`.

Four kinds of case, one figure each and one over all: the share within 15 %.

- starts: KV cache that real engines reported when they started (`engine_starts.csv`, each with its source),
  in tokens where the log states its concurrency, else in bytes. An engine that refused for want of memory
  counts as right where the planner refuses too. Constants of `planning/engine_memory.py` were fitted to the
  rows marked so; the others are held out, and the later ones were looked up after the constants stood.
- weights and bytes per token: reference values of models at TP1.
- activations: peaks that llm-d-planner 0.3.3 carries as measured (vLLM 0.19, H100, 8,192 tokens, 1,024
  sequences), by architecture.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from inferfleet.planning import catalogue_facts, find_accelerator
from inferfleet.planning.accelerators import GIB
from inferfleet.planning.engine_memory import engine_memory
from inferfleet.planning.kv_cache import cache_layout, kv_bytes_per_token
from inferfleet.planning.memory import (
    activation_bytes,
    kv_element_bytes,
    kv_space_bytes,
    weights_bytes_per_gpu,
)
from inferfleet.planning.quantization import requantise
from inferfleet.planning.split import Split
from inferfleet.values import ModelFacts, Reason

STARTS = Path(__file__).with_name("engine_starts.csv")
WITHIN = 0.15
# bytes per token, and GiB of weights, at TP1
KV_BYTES = {
    ("meta-llama/Llama-3.1-8B-Instruct", "auto"): 131_072,
    ("Qwen/Qwen3-32B", "auto"): 262_144,
    ("meta-llama/Llama-3.1-70B-Instruct", "auto"): 327_680,
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "auto"): 131_072,
    ("Qwen/Qwen3-30B-A3B", "auto"): 98_304,
    ("deepseek-ai/DeepSeek-V3", "fp8"): 35_136,
}
WEIGHTS_GIB = {
    "meta-llama/Llama-3.1-8B-Instruct": 14.96,
    "Qwen/Qwen3-32B": 61.02,
    "meta-llama/Llama-3.1-70B-Instruct": 131.4,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 86.7,
    "Qwen/Qwen3-30B-A3B": 56.3,
}
# architecture's representative in the catalogue -> measured GiB
ACTIVATIONS_GIB = {
    "meta-llama/Llama-3.1-8B-Instruct": 1.89,
    "Qwen/Qwen2.5-7B-Instruct": 2.25,
    "Qwen/Qwen3-8B": 2.21,
    "deepseek-ai/DeepSeek-V2-Lite-Chat": 1.93,
    "ibm-granite/granite-3.1-8b-instruct": 0.85,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 1.21,
    "microsoft/phi-4": 1.52,
    "Qwen/Qwen3-30B-A3B": 2.68,
    "google/gemma-2-9b-it": 3.65,
    "google/gemma-3-1b-it": 3.94,
}
NINETEEN = engine_memory("vllm:v0.19.0")


@dataclass(frozen=True, slots=True)
class Case:
    """A value known from elsewhere, and ours. `gpu_share` is the difference as a share of a GPU's memory."""

    kind: str
    label: str
    theirs: float
    ours: float
    gpu_share: float | None = None

    @property
    def off(self) -> float:
        """Relative error; none where both say that nothing is left."""
        if self.theirs <= 0:
            return 0.0 if self.ours <= 0 else float("inf")
        return self.ours / self.theirs - 1

    @property
    def good(self) -> bool:
        """True within the target."""
        return abs(self.off) <= WITHIN


def model_of(name: str, quantization: str = "") -> ModelFacts:
    """A recorded model, made smaller while it loads where asked."""
    model = catalogue_facts(name)
    assert model
    served = requantise(model, quantization) if quantization else model
    assert not isinstance(served, Reason)
    return served


def starts() -> Iterator[Case]:
    """One case per recorded start."""
    with STARTS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield start(row, f"starts, {row['part']}")


def start(row: dict[str, str], kind: str) -> Case:
    """What the planner counts on for one start, against what the engine said."""
    model, gpu = model_of(row["model"], row["quantization"]), find_accelerator(row["gpu"])
    assert gpu
    split = Split(int(row["tensor"]), expert=row["expert_parallel"] == "1")
    engine = engine_memory(f"vllm:v{row['engine']}")
    if row["eager"] == "1":
        engine = replace(engine, graphs_inside=False)
    batched, length = int(row["batched_tokens"]), int(row["max_model_len"])
    space = kv_space_bytes(
        model,
        gpu,
        split,
        engine,
        utilization=float(row["utilization"]),
        batched_tokens=batched,
        sequences=int(row["sequences"]),
    )
    said = float(row["kv_gib"]) * GIB
    label = f"{row['engine']:7} {row['gpu']:12} TP{split.tensor} {row['model'].rpartition('/')[2]}"
    label += f" {row['quantization']}"
    share = (space - said) / gpu.memory_bytes
    if not row["concurrency"]:
        return Case(kind, label, said / GIB, space / GIB, share)
    cache = cache_layout(
        model,
        split,
        kv_element_bytes(model, row["kv_cache_dtype"]),
        prefix_caching=row["prefix_caching"] == "1",
    )
    ours = cache.capacity_tokens(space, length, batched * engine.batches_in_flight)
    return Case(kind, label, float(row["concurrency"]) * length, ours, share)


def references() -> Iterator[Case]:
    """Weights, bytes per token and activations of single models."""
    for (name, dtype), known in KV_BYTES.items():
        model = model_of(name)
        ours = kv_bytes_per_token(model, Split(), kv_element_bytes(model, dtype))
        yield Case("bytes per token", name, known, ours)
    for name, gib in WEIGHTS_GIB.items():
        yield Case("weights, GiB", name, gib, weights_bytes_per_gpu(model_of(name), Split()) / GIB)
    for name, gib in ACTIVATIONS_GIB.items():
        ours = activation_bytes(model_of(name), Split(), NINETEEN, batched_tokens=8192, sequences=1024)
        yield Case("activations, GiB", name, gib, ours / GIB)


def main() -> None:
    """Print every case, then the share within the target, per kind and over all."""
    cases = [*starts(), *references()]
    print(f"{'kind':17} {'case':60} {'theirs':>12} {'ours':>12} {'off':>7} of GPU")
    for case in cases:
        share = "" if case.gpu_share is None else f"{case.gpu_share:6.1%}"
        mark = "" if case.good else "  <-"
        numbers = f"{case.theirs:12,.2f} {case.ours:12,.2f} {case.off:7.1%}"
        print(f"{case.kind:17} {case.label:60} {numbers} {share}{mark}")
    print()
    for kind in dict.fromkeys(case.kind for case in cases):
        tell(kind, [case for case in cases if case.kind == kind])
    started = [case for case in cases if case.kind.startswith("starts")]
    tell("starts", started)
    # many rows are one model on one kind of GPU under several versions: each such pair by its worst row
    worst = {
        case.label.split(maxsplit=1)[1]: case for case in sorted(started, key=lambda case: abs(case.off))
    }
    tell("starts, distinct", list(worst.values()))
    tell("all", cases)


def tell(name: str, cases: list[Case]) -> None:
    """Print the share of the cases within the target."""
    good = sum(case.good for case in cases)
    print(f"{name:17} within 15 %: {good:3} of {len(cases):3} ({good / len(cases):.0%})")


if __name__ == "__main__":
    main()
