"""What one GPU of a replica has to hold, and how much KV cache is left.

`weights/(TP x PP) + activations + communication + runtime <= memory x utilization - KV`.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Final

from inferfleet.planning.accelerators import MIB
from inferfleet.planning.engine_memory import EngineMemory, graph_bytes
from inferfleet.planning.quantization import DTYPE_BYTES
from inferfleet.planning.split import Split
from inferfleet.values import Accelerator, LayerGroup, ModelFacts

# "Model loading took" against the sum of the tensors: the median of engine_starts.csv is 1.003
WEIGHTS_OVERHEAD: Final = 1.003
# what the driver keeps of the memory that it reports: L4 23034 MiB against 22.05 GiB seen by PyTorch, H100
# 81559 MiB against 79.18; AMD's reports what is there (MI300X 191.98)
DRIVER_BYTES: Final = 450 * MIB
# MXFP4 kernels pad an expert's input to a multiple of this (2880 to 3072): 64.38 GiB loaded of a 60.8 GiB
# checkpoint (vllm-project/vllm#33155). Where the engine falls back to Marlin it takes 65.97 (#23278)
_MXFP4_PADDING: Final = 256


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
    if model.quantization != "mxfp4" or not model.hidden_size:
        return 1.0
    return ceil(model.hidden_size / _MXFP4_PADDING) * _MXFP4_PADDING / model.hidden_size


def _replicated_kv(model: ModelFacts, group: LayerGroup, tensor: int) -> float:
    """Key and value projections that exist on more than one GPU because there are more GPUs than KV heads."""
    if not group.kv_heads or tensor <= group.kv_heads:
        return 0.0
    each = model.hidden_size * (group.key_dim + group.value_dim)
    return each * (1 - group.kv_heads / tensor)


def activation_bytes(
    model: ModelFacts, split: Split, engine: EngineMemory, *, batched_tokens: int, sequences: int
) -> int:
    """Peak working memory of one step, as the engine's profiling run sees it.

    The larger of the forward pass (tokens x residual streams of the full width and the widest of the sharded
    intermediates) and of sampling after it, which grows with sequences and vocabulary; beside them the
    experts' workspace, which outlives the step.
    """
    width = 2  # activations are 16 bit whatever the weights are
    qkv = model.head_dim * (2 * model.attention_heads + 2 * model.kv_heads) / split.tensor
    mlp = 3 * model.intermediate_size / split.tensor
    routed = workspace = 0.0
    if model.experts:
        inner = model.moe_intermediate_size / (1 if split.expert else split.tensor * split.data)
        routed = model.experts_per_token * (3 * inner + model.hidden_size)
        workspace = width * batched_tokens * model.experts_per_token * model.hidden_size
        if split.expert:
            routed /= max(1, split.tensor * split.data / 2)
    per_token = width * (4 * model.hidden_size + max(qkv, mlp if not model.experts else routed))
    sampling = sequences * model.vocab_size * engine.sampler_bytes
    return int(max(batched_tokens * per_token, sampling + workspace))


def kv_space_bytes(
    model: ModelFacts,
    gpu: Accelerator,
    split: Split,
    engine: EngineMemory,
    *,
    utilization: float,
    batched_tokens: int,
    sequences: int,
) -> int:
    """Bytes per GPU that are left for the KV cache; negative by how much is missing."""
    visible = gpu.memory_bytes - (DRIVER_BYTES if gpu.vendor == "nvidia" else 0)
    graphs = graph_bytes(ceil(model.layers / split.pipeline), sequences)
    # graphs that are captured after the cache is sized need the room that utilisation leaves
    budget = min(visible * utilization - (graphs if engine.graphs_inside else 0), visible - graphs)
    used = weights_bytes_per_gpu(model, split)
    used += engine.runtime_alone_bytes if split.gpus == 1 else engine.runtime_several_bytes
    used += activation_bytes(model, split, engine, batched_tokens=batched_tokens, sequences=sequences)
    return int(budget - used)
