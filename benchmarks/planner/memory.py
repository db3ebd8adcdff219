"""Hold the memory model against what real engines printed at start: `python benchmarks/planner/memory.py`.

Two tables. First the peak working memory that llm-d-planner 0.3.3 carries as measured (vLLM 0.19, H100, the
engine's defaults of 8,192 tokens and 1,024 sequences), by architecture. Then KV space from lines of public
logs ("Available KV cache memory" or "GPU KV cache size"; tokens are turned into bytes by the model's KV
bytes per token): engines of 2024 and 2025, whose sampler took more.
"""

from __future__ import annotations

from dataclasses import dataclass

from inferfleet.planning import catalogue_facts, find_accelerator
from inferfleet.planning.accelerators import GIB
from inferfleet.planning.memory import (
    Split,
    activation_bytes,
    kv_bytes_per_token,
    kv_element_bytes,
    kv_space_bytes,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One engine start. Where the log does not state a limit, the engine's default of its version stands."""

    model: str
    gpu: str
    tensor: int
    utilization: float
    batched_tokens: int
    sequences: int
    source: str
    kv_gib: float | None = None
    kv_tokens: int | None = None


CASES = (
    Case(
        "meta-llama/Llama-3.1-8B-Instruct", "H100", 1, 0.9, 8192, 256,
        "vLLM V1 start, 79.11 GiB visible: a log parser's test data", kv_gib=54.62,
    ),
    Case(
        "meta-llama/Llama-3.1-8B-Instruct", "RTX-3090", 1, 0.9, 2048, 256,
        "24 GB card (RTX A5000), eager: a serving simulator's notes", kv_tokens=43_296,
    ),
    Case(
        "Qwen/Qwen3-235B-A22B-FP8", "H100", 4, 0.9, 8192, 1024,
        "vllm-project/vllm#21348", kv_tokens=178_880,
    ),
    Case("openai/gpt-oss-120b", "H100", 1, 0.95, 1024, 1024, "vllm-project/vllm#27508", kv_gib=1.71),
    Case("openai/gpt-oss-120b", "H100", 1, 0.9, 8192, 1024, "vllm-project/vllm#23278", kv_gib=-2.14),
    Case(
        "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "H100", 1, 0.98, 8192, 256,
        "vllm-project/vllm#12569 (70B w8a8: same bytes)", kv_tokens=1381 * 16,
    ),
    Case(
        "Qwen/Qwen2.5-14B-Instruct", "RTX-4090", 2, 0.98, 2048, 256,
        "vllm-project/vllm#13061 (R1-Distill-Qwen-14B, V0)", kv_gib=8.69,
    ),
)  # fmt: skip


# architecture's representative in the catalogue -> measured GiB
ACTIVATIONS = {
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
H100_BUDGET_GIB = 71.2


def predicted_gib(case: Case) -> float:
    """KV space per GPU that the planner would count on."""
    model, gpu = catalogue_facts(case.model), find_accelerator(case.gpu)
    assert model
    assert gpu
    space = kv_space_bytes(
        model,
        gpu,
        Split(case.tensor),
        utilization=case.utilization,
        batched_tokens=case.batched_tokens,
        sequences=case.sequences,
    )
    return space / GIB


def reported_gib(case: Case) -> float:
    """KV space per GPU that the engine reported."""
    if case.kv_gib is not None:
        return case.kv_gib
    model = catalogue_facts(case.model)
    assert model
    assert case.kv_tokens
    per_token = kv_bytes_per_token(model, Split(case.tensor), kv_element_bytes(model, "auto"))
    return case.kv_tokens * per_token / GIB


def main() -> None:
    """Print one line per case: both sizes, the difference, and what it makes of the KV space or the GPU."""
    print(f"{'model':46} {'measured GiB':>12} {'ours GiB':>9} {'off':>7}  of KV space on H100")
    for name, measured in ACTIVATIONS.items():
        model = catalogue_facts(name)
        assert model
        ours = activation_bytes(model, Split(), batched_tokens=8192, sequences=1024) / GIB
        space = H100_BUDGET_GIB - model.weight_bytes / GIB - measured
        kv = f"{(measured - ours) / space:7.1%}" if space > 0 else "no fit"
        print(f"{name:46} {measured:12.2f} {ours:9.2f} {ours / measured - 1:7.1%}  {kv}")
    print()
    print(f"{'model':46} {'GPU':9} TP  util {'engine GiB':>10} {'ours GiB':>9} {'off':>7}  of GPU  source")
    for case in CASES:
        real, ours = reported_gib(case), predicted_gib(case)
        gpu = find_accelerator(case.gpu)
        assert gpu
        share = (ours - real) * GIB / gpu.memory_bytes
        print(
            f"{case.model:46} {case.gpu:9} {case.tensor:2} {case.utilization:5.2f} {real:10.2f} {ours:9.2f} "
            f"{(ours - real) / abs(real):7.1%} {share:7.1%}  {case.source}"
        )


if __name__ == "__main__":
    main()
