"""What one GPU of a replica has to hold, and how much KV cache is left.

`weights/(TP x PP) + activations + communication + runtime <= memory x utilization - KV`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Final

from inferfleet.planning.accelerators import GIB, MIB
from inferfleet.planning.quantization import DTYPE_BYTES
from inferfleet.values import Accelerator, LayerGroup, Mixer, ModelFacts

# loaders pad and keep scales beside the tensors: the sum of the files x 1.02 is the better estimate
WEIGHTS_OVERHEAD: Final = 1.02
# CUDA context, cuBLAS workspaces and, over several GPUs, NCCL and all-reduce buffers: memory that PyTorch
# does not see. 0.3 and 2.1 GiB are measured on H100; without NVLink there are no peer buffers (two RTX 4090:
# 0.25 GiB, vllm-project/vllm#13061)
RUNTIME_ALONE_BYTES: Final = int(0.3 * GIB)
RUNTIME_NVLINK_BYTES: Final = int(2.1 * GIB)
RUNTIME_PCIE_BYTES: Final = int(0.6 * GIB)
# what the driver keeps of the memory that it reports: L4 23034 MiB against 22.05 GiB seen by PyTorch
DRIVER_BYTES: Final = 450 * MIB
# captured CUDA graphs: the engine takes them outside its utilisation limit
GRAPH_BYTES: Final = int(0.8 * GIB)
# sampling takes memory by sequences x vocabulary, whatever the step's budget: logits, their float32 copy, and
# what sorting them for top-p needs. Fitted to the peaks that llm-d-planner measured with vLLM 0.19 on H100
# (1,024 sequences: Llama 1.89 GiB, Qwen3 2.21, Gemma 2 3.65; benchmarks/planner/memory.py); engines of 2025
# took 36 bytes (vllm-project/vllm#23278)
_SAMPLER_BYTES: Final = 16
# MXFP4 kernels pad both widths of an expert (2880 to 2944): 64.4 GiB loaded of a 60.8 GiB checkpoint
# (vllm-project/vllm#33155)
_MXFP4_PADDING: Final = 128


@dataclass(frozen=True, slots=True, order=True)
class Split:
    """How one replica is divided. Experts are sharded over all of `tensor x data`, by width or by expert."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline * self.data

    def __str__(self) -> str:
        parts = [f"TP{self.tensor}"]
        if self.pipeline > 1:
            parts.append(f"PP{self.pipeline}")
        if self.data > 1:
            parts.append(f"DP{self.data}")
        return " ".join((*parts, "EP") if self.expert else parts)


def kv_element_bytes(model: ModelFacts, kv_cache_dtype: str) -> int:
    """Bytes of one KV element: `auto` is the model's own type, even where its weights are FP8."""
    if kv_cache_dtype.startswith("fp8"):
        return 1
    named = model.dtype if kv_cache_dtype == "auto" else kv_cache_dtype
    return min(2, DTYPE_BYTES.get(named, 2))


@lru_cache(maxsize=4096)
def weights_bytes_per_gpu(model: ModelFacts, split: Split) -> int:
    """Weights on the fullest GPU.

    Layers split evenly over the pipeline, the vocabulary table sits on the first stage and the head on the
    last (the same tensor twice if tied). What tensor parallelism replicates (MLA's down projections, KV
    heads past their number) is counted on every GPU; attention is replicated over data-parallel ranks,
    experts are not.
    """
    groups = model.layer_groups
    tables = model.embedding_bytes or model.vocab_size * model.hidden_size * 2
    fixed = tables * (1 if model.tied_embeddings else 2) + model.extra_bytes
    dense_bytes = max(0, model.weight_bytes - fixed - model.expert_bytes)
    parameters = sum(group.layers * (group.mixer_parameters + group.mlp_parameters) for group in groups)
    replicated = sum(
        group.layers * (group.replicated_parameters + _replicated_kv(model, group, split.tensor))
        for group in groups
    )
    share = replicated / parameters if parameters else 0.0
    per_gpu = dense_bytes * (share + max(0.0, 1 - share) / split.tensor)
    per_gpu += model.expert_bytes * _expert_padding(model) / (split.tensor * split.data)
    stage = per_gpu * ceil(model.layers / split.pipeline) / model.layers
    # in a pipeline a tied table is loaded by both ends, but no GPU holds it twice
    ends = fixed if split.pipeline == 1 else tables + model.extra_bytes
    return int((stage + ends / split.tensor) * WEIGHTS_OVERHEAD)


def _expert_padding(model: ModelFacts) -> float:
    """How much larger the experts are in memory than on disk."""
    if model.quantization != "mxfp4" or not model.moe_intermediate_size:
        return 1.0
    padded = [
        ceil(width / _MXFP4_PADDING) * _MXFP4_PADDING / width
        for width in (model.hidden_size, model.moe_intermediate_size)
    ]
    return padded[0] * padded[1]


def _replicated_kv(model: ModelFacts, group: LayerGroup, tensor: int) -> float:
    """Key and value projections that exist on more than one GPU because there are more GPUs than KV heads."""
    if not group.kv_heads or tensor <= group.kv_heads:
        return 0.0
    each = model.hidden_size * (group.key_dim + group.value_dim)
    return each * (1 - group.kv_heads / tensor)


@lru_cache(maxsize=4096)
def kv_bytes_per_token(model: ModelFacts, split: Split, element_bytes: int) -> int:
    """KV that one more token takes on the fullest GPU, in the layers that keep every token."""
    return sum(
        _kv_bytes(group, split, element_bytes) for group in model.layer_groups if group.window_tokens is None
    )


def sequence_bytes(model: ModelFacts, split: Split, element_bytes: int, tokens: int) -> int:
    """KV and state that one sequence of this length takes on the fullest GPU."""
    total = kv_bytes_per_token(model, split, element_bytes) * tokens
    for group in model.layer_groups:
        if group.window_tokens is not None:
            total += _kv_bytes(group, split, element_bytes) * min(tokens, group.window_tokens)
        total += ceil(group.layers / split.pipeline) * ceil(group.state_bytes / split.tensor)
    return total


def _kv_bytes(group: LayerGroup, split: Split, element_bytes: int) -> int:
    layers = ceil(group.layers / split.pipeline)
    if group.mixer is Mixer.LATENT:
        return layers * (group.latent_dim * element_bytes + group.index_bytes)
    if not group.kv_heads:
        return 0
    # ceil(heads/TP): past TP = KV heads the heads replicate
    return layers * ceil(group.kv_heads / split.tensor) * (group.key_dim + group.value_dim) * element_bytes


def activation_bytes(model: ModelFacts, split: Split, *, batched_tokens: int, sequences: int) -> int:
    """Peak working memory of one step, as the engine's profiling run sees it.

    The larger of the forward pass (tokens x residual streams of the full width and the widest of the sharded
    intermediates) and of sampling after it, which grows with sequences and vocabulary.
    """
    width = 2  # activations are 16 bit whatever the weights are
    qkv = model.head_dim * (2 * model.attention_heads + 2 * model.kv_heads) / split.tensor
    mlp = 3 * model.intermediate_size / split.tensor
    routed = 0.0
    if model.experts:
        inner = model.moe_intermediate_size / (1 if split.expert else split.tensor * split.data)
        routed = model.experts_per_token * (3 * inner + model.hidden_size)
        if split.expert:
            routed /= max(1, split.tensor * split.data / 2)
    per_token = width * (4 * model.hidden_size + max(qkv, mlp if not model.experts else routed))
    return int(max(batched_tokens * per_token, sequences * model.vocab_size * _SAMPLER_BYTES))


def runtime_bytes(gpu: Accelerator, split: Split) -> int:
    """Memory outside PyTorch."""
    if split.gpus == 1:
        return RUNTIME_ALONE_BYTES
    return RUNTIME_NVLINK_BYTES if gpu.nvlink else RUNTIME_PCIE_BYTES


def kv_space_bytes(
    model: ModelFacts,
    gpu: Accelerator,
    split: Split,
    *,
    utilization: float,
    batched_tokens: int,
    sequences: int,
) -> int:
    """Bytes per GPU that are left for the KV cache; negative by how much is missing."""
    visible = gpu.memory_bytes - DRIVER_BYTES
    # graphs are captured after the cache is sized: they need the room that utilisation leaves
    budget = min(visible * utilization, visible - GRAPH_BYTES)
    used = weights_bytes_per_gpu(model, split) + runtime_bytes(gpu, split)
    used += activation_bytes(model, split, batched_tokens=batched_tokens, sequences=sequences)
    return int(budget - used)
