"""Rules of thumb against the planner, on one table of cases: `python benchmarks/planner/baselines.py`.

Every rule picks a split; the planner's own model then judges all of them by the same yardstick (tokens/s
per GPU at the objectives, 0 where the split cannot run or misses them). Where a best is known from
elsewhere (`calibration.py`), that best judges the planner too. The rules:

- KAITO's: data parallel if the weights take less than half a GPU, else tensor parallel over the whole node,
  else a pipeline over nodes (kaito-project/kaito, the estimator of its workspace controller).
- vLLM's documented one: one GPU if it fits, else tensor parallel over as many GPUs as it takes, up to the
  node, else a pipeline over nodes (docs.vllm.ai, "Parallelism and Scaling").
- two lines: the smallest tensor parallelism with weights <= 0.45 of the memory, and weights read in at most
  0.30 of the inter-token objective at 0.8 of the bandwidth.

llm-d-planner knows other models and loads: `llm_d.py` holds it beside this planner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calibration import POINTS, pool, spec

from inferfleet.planning import catalogue_facts
from inferfleet.planning.memory import weights_bytes_per_gpu
from inferfleet.planning.search import search
from inferfleet.planning.split import Split
from inferfleet.values import ModelFacts, Pool

WITHIN = 0.95


@dataclass(frozen=True, slots=True)
class Case:
    """A model on one node of eight GPUs, under strict or relaxed objectives."""

    model: str
    gpu: str
    strict: bool


MODELS = (
    "Qwen/Qwen3-4B",
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-14B",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-32B",
    "meta-llama/Llama-3.1-70B-Instruct",
    "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-235B-A22B-FP8",
    "openai/gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3",
)
GPUS = ("L4", "L40S", "A100-80GB", "H100", "H200", "B200")
CASES = tuple(Case(model, gpu, strict) for model in MODELS for gpu in GPUS for strict in (True, False))

Rule = Callable[[ModelFacts, Pool, float], Split]


def kaito(model: ModelFacts, pool: Pool, _itl: float) -> Split:
    """All of a node, or one GPU."""
    weights, gpu = model.weight_bytes, pool.accelerator
    return Split(1) if weights < gpu.memory_bytes / 2 else Split(pool.gpus_per_node)


def documented(model: ModelFacts, pool: Pool, _itl: float) -> Split:
    """The fewest GPUs that hold the weights with a tenth to spare."""
    room = pool.accelerator.memory_bytes * 0.9
    for tensor in (1, 2, 4, 8):
        if tensor <= pool.gpus_per_node and model.weight_bytes / tensor <= room * 0.9:
            return Split(tensor)
    return Split(pool.gpus_per_node)


def two_lines(model: ModelFacts, pool: Pool, itl: float) -> Split:
    """The smallest width that leaves room for the cache and time for the rest of a step."""
    gpu = pool.accelerator
    for tensor in (1, 2, 4, 8):
        shard = model.weight_bytes / tensor
        if shard <= 0.45 * gpu.memory_bytes and shard / (0.8 * gpu.memory_bytes_per_second) <= 0.30 * itl:
            return Split(tensor)
    return Split(pool.gpus_per_node)


RULES: dict[str, Rule] = {"KAITO": kaito, "vLLM's docs": documented, "two lines": two_lines}


def rates(case: Case) -> dict[Split, float]:
    """Tokens/s per GPU of every split that will do, by the planner's model."""
    model = catalogue_facts(case.model)
    assert model
    found = search(model, [pool(case.gpu)], spec(case.model, strict=case.strict)).outcomes
    return {
        outcome.candidate.split: outcome.layout.prediction.tokens_per_second / outcome.candidate.split.gpus
        for outcome in found
    }


def main() -> None:
    """Print each case with every rule's pick as a share of the best, then who is within 5 % how often."""
    print(f"{'case':66} {'best':14} " + " ".join(f"{name:>18}" for name in RULES))
    good = dict.fromkeys(RULES, 0)
    fails = dict.fromkeys(RULES, 0)
    possible = 0
    for case in CASES:
        model = catalogue_facts(case.model)
        assert model
        found = rates(case)
        label = f"{case.model} {case.gpu} {'strict' if case.strict else 'relaxed'}"
        if not found:
            print(f"{label:66} {'refused':14} " + " ".join(f"{'plans anyway':>18}" for _ in RULES))
            continue
        possible += 1
        best = max(found, key=lambda split: found[split])
        cells = []
        for name, rule in RULES.items():
            pick = rule(model, pool(case.gpu), 0.040 if case.strict else 0.100)
            # a rule knows no expert parallelism: it is given the better of both
            rate = max(
                found.get(Split(pick.tensor, pick.pipeline, 1, expert), 0.0) for expert in (False, True)
            )
            share = rate / found[best]
            good[name] += share >= WITHIN
            fails[name] += share == 0
            cells.append(
                f"{pick!s:>9} {share:8.0%}" if share else f"{pick!s:>9} {_why(model, case, pick):>8}"
            )
        print(f"{label:66} {best!s:14} " + " ".join(f"{cell:>18}" for cell in cells))
    print(f"\n{possible} cases that can be served; per rule: within 5 % of the best, and not able to serve")
    for name in RULES:
        print(f"  {name:14} {good[name]:3} of {possible}   fails {fails[name]:3}")
    _known()


def _why(model: ModelFacts, case: Case, pick: Split) -> str:
    memory = pool(case.gpu).accelerator.memory_bytes
    return "no fit" if weights_bytes_per_gpu(model, pick) > 0.85 * memory else "too slow"


def _known() -> None:
    """Who names the known best (or one within 5 % of it) at the ten points that are known from elsewhere."""
    right = dict.fromkeys([*RULES, "this planner"], 0)
    for point in POINTS:
        model = catalogue_facts(point.model)
        assert model
        wanted = {point.tensor, *point.also}
        for name, rule in RULES.items():
            right[name] += rule(model, pool(point.gpu), 0.040 if point.strict else 0.100).tensor in wanted
        found = rates(Case(point.model, point.gpu, point.strict))
        flat = {split: rate for split, rate in found.items() if split.pipeline == 1}
        right["this planner"] += max(flat, key=lambda split: flat[split]).tensor in wanted
    print(f"\nknown best splits named (of {len(POINTS)}, tensor parallelism only, as their source searched):")
    for name, count in right.items():
        print(f"  {name:14} {count}")


if __name__ == "__main__":
    main()
