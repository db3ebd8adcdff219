"""How long one engine step takes: a roofline over one pipeline stage, and what GPUs say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from inferfleet.planning.efficiency import NETWORK_BYTES_PER_SECOND, Efficiency, efficiency_of
from inferfleet.planning.memory import kv_element_bytes
from inferfleet.planning.quantization import matrix_flops
from inferfleet.planning.split import Split
from inferfleet.values import Accelerator, LayerGroup, Mixer, ModelFacts

_ACTIVATION_BYTES: Final = 2
# two all-reduces per layer: after attention and after the MLP (Shoeybi et al. 2019, Megatron-LM)
_ALL_REDUCES_PER_LAYER: Final = 2


@dataclass(frozen=True, slots=True)
class StepModel:
    """Coefficients of the time of one step on one stage of one replica. Tokens are per data-parallel rank.

    What a replica does not have costs nothing: experts, exchanges, hops. A sequence has `verified` tokens in
    a step and gains `yields` of them; both are 1 without a `draft`, whose own steps come first.
    """

    stages: int = 1
    ranks: int = 1
    dense_seconds: float = 0.0
    dense_seconds_per_token: float = 0.0
    expert_seconds: float = 0.0
    expert_seconds_per_token: float = 0.0
    expert_hit: float = 0.0
    head_seconds: float = 0.0
    head_seconds_per_token: float = 0.0
    context_seconds_per_token: float = 0.0
    window_seconds: tuple[tuple[int, float], ...] = ()
    state_seconds: float = 0.0
    prefill_seconds_per_context_token: float = 0.0
    prefill_window_seconds: tuple[tuple[int, float], ...] = ()
    exchange_seconds: float = 0.0
    exchange_seconds_per_token: float = 0.0
    hop_seconds: float = 0.0
    hop_seconds_per_token: float = 0.0
    overhead_seconds: float = 0.0
    overhead_seconds_per_sequence: float = 0.0
    verified: int = 1
    yields: float = 1.0
    draft: StepModel | None = None

    def stage_seconds(self, decodes: float, prefill: float, context: float, prompt_context: float) -> float:
        """Time of a step that carries `decodes` sequences of mean `context` and `prefill` prompt tokens."""
        tokens = decodes * self.verified + prefill
        seconds = max(self.dense_seconds, tokens * self.dense_seconds_per_token)
        if self.expert_seconds:
            # share of the experts that at least one of the tokens picks, if they pick independently
            touched = 1.0 - (1.0 - self.expert_hit) ** (tokens * self.ranks)
            seconds += max(self.expert_seconds * touched, tokens * self.expert_seconds_per_token)
        seconds += max(self.head_seconds, decodes * self.verified * self.head_seconds_per_token)
        seconds += decodes * (context * self.context_seconds_per_token + self.state_seconds)
        for window, each in self.window_seconds:
            seconds += decodes * min(context, window) * each
        if prefill:
            seconds += prefill * prompt_context * self.prefill_seconds_per_context_token
            for window, each in self.prefill_window_seconds:
                seconds += prefill * min(prompt_context, window) * each
        if self.draft:
            seconds += self.draft.stage_seconds(decodes, prefill, context, prompt_context)
            seconds += (self.verified - 2) * self.draft.stage_seconds(decodes, 0.0, context, 0.0)
        seconds += self.exchange_seconds + tokens * self.exchange_seconds_per_token
        return seconds + self.overhead_seconds + decodes * self.overhead_seconds_per_sequence

    def hops_seconds(self, tokens: float) -> float:
        """Time that a step spends between stages."""
        return (self.stages - 1) * (self.hop_seconds + tokens * self.hop_seconds_per_token)


def step_model(
    model: ModelFacts, gpu: Accelerator, split: Split, *, gpus_per_node: int, kv_cache_dtype: str
) -> StepModel:
    """Reduce a model, a GPU and a split to the coefficients of a step.

    Decode is bound by bytes, prefill by arithmetic; each part of a step takes the longer of the two.
    """
    able = efficiency_of(gpu)
    bandwidth = gpu.memory_bytes_per_second * able.bandwidth
    flops = matrix_flops(model, gpu) * (able.matrix_8bit if model.activation_bits < 16 else able.matrix)  # noqa: PLR2004
    sixteen = (gpu.bf16_flops or gpu.fp16_flops) * able.matrix
    tensor, stages = split.tensor, split.pipeline
    share = ceil(model.layers / stages) / model.layers
    groups = model.layer_groups
    tables = model.embedding_bytes or model.vocab_size * model.hidden_size * 2
    fixed = tables * (1 if model.tied_embeddings else 2) + model.extra_bytes
    dense_bytes = max(0, model.weight_bytes - fixed - model.expert_bytes) * share / tensor
    dense = sum(group.layers * (group.mixer_parameters + group.mlp_parameters) for group in groups)
    routed = sum(group.layers * group.active_expert_parameters for group in groups)
    expert_gpus = tensor * split.data
    imbalance = able.expert_imbalance if split.expert and expert_gpus > 1 else 1.0
    exchange, exchange_per_token = _exchange(model, gpu, split, able, gpus_per_node)
    hop = able.hop_seconds if gpus_per_node >= split.gpus else able.network_hop_seconds
    link = gpu.interconnect_bytes_per_second * able.link if gpus_per_node >= split.gpus else _network(able)
    head = model.vocab_size * model.hidden_size
    attention = _Attention(
        heads=model.attention_heads,
        tensor=tensor,
        element_bytes=kv_element_bytes(model, kv_cache_dtype),
        bandwidth=bandwidth,
        flops=(gpu.bf16_flops or gpu.fp16_flops) * able.attention,
    )
    whole = [group for group in groups if group.window_tokens is None]
    windowed = [(group.window_tokens, group) for group in groups if group.window_tokens is not None]
    return StepModel(
        stages=stages,
        ranks=split.data,
        dense_seconds=dense_bytes / bandwidth,
        dense_seconds_per_token=2 * dense * share / tensor / flops,
        expert_seconds=model.expert_bytes * share / expert_gpus / bandwidth,
        expert_seconds_per_token=2 * routed * share / tensor / flops * imbalance,
        expert_hit=min(1.0, model.experts_per_token / model.experts) if model.experts else 0.0,
        head_seconds=tables / tensor / bandwidth,
        head_seconds_per_token=2 * head / tensor / sixteen,
        context_seconds_per_token=sum(map(attention.read_seconds, whole)) / stages,
        window_seconds=tuple((window, attention.read_seconds(group) / stages) for window, group in windowed),
        state_seconds=2
        * sum(group.layers * group.state_bytes for group in groups)
        / tensor
        / stages
        / bandwidth,
        prefill_seconds_per_context_token=sum(map(attention.attend_seconds, whole)) / stages,
        prefill_window_seconds=tuple(
            (window, attention.attend_seconds(group) / stages) for window, group in windowed
        ),
        exchange_seconds=exchange * share,
        exchange_seconds_per_token=exchange_per_token * share,
        hop_seconds=hop,
        hop_seconds_per_token=model.hidden_size * _ACTIVATION_BYTES / tensor / link if link else 0.0,
        overhead_seconds=able.step_seconds + model.layers * share * able.layer_seconds,
        overhead_seconds_per_sequence=able.sequence_seconds,
    )


@dataclass(frozen=True, slots=True)
class _Attention:
    """What attention runs on: one GPU's share of the heads, at the rates that its kernels reach."""

    heads: int
    tensor: int
    element_bytes: int
    bandwidth: float
    flops: float

    def read_seconds(self, group: LayerGroup) -> float:
        """Time per token of context to attend to it in a decode step, over all layers of the group.

        Grouped queries are bound by reading the cache. The latent of MLA is read once and multiplied by every
        head (the absorbed form of DeepSeek-V2), which on many heads is the longer of the two.
        """
        if group.mixer is Mixer.LATENT:
            read = (group.latent_dim * self.element_bytes + group.index_bytes) / self.bandwidth
            multiply = 2 * (2 * group.latent_dim) * self.heads / self.tensor / self.flops
            return group.layers * max(read, multiply)
        heads = ceil(group.kv_heads / self.tensor)
        width = group.key_dim + group.value_dim
        return group.layers * heads * width * self.element_bytes / self.bandwidth

    def attend_seconds(self, group: LayerGroup) -> float:
        """Time per prompt token and token of context before it: two products over every query head."""
        width = group.key_dim + group.value_dim
        return group.layers * 2 * width * self.heads / self.tensor / self.flops


def _network(able: Efficiency) -> float:
    return NETWORK_BYTES_PER_SECOND * able.link


def _exchange(
    model: ModelFacts, gpu: Accelerator, split: Split, able: Efficiency, gpus_per_node: int
) -> tuple[float, float]:
    """Seconds per step, and per token, that all layers spend in collectives.

    All-reduce moves 2(n-1)/n of the message per GPU (ring); sharded experts behind data-parallel attention
    gather all ranks' tokens and scatter the sums: (n-1)/n of them each way (the engine's default all-to-all).
    """
    tensor, group = split.tensor, split.tensor * split.data
    message = model.hidden_size * _ACTIVATION_BYTES
    fixed = per_token = 0.0
    if tensor > 1:
        rate, latency = _link(gpu, tensor, able, gpus_per_node)
        count = _ALL_REDUCES_PER_LAYER * model.layers
        fixed += count * latency
        per_token += count * 2 * (tensor - 1) / tensor * message / rate
    if split.data > 1:
        rate, latency = _link(gpu, group, able, gpus_per_node)
        sparse = sum(layers.layers for layers in model.layer_groups if layers.expert_parameters)
        fixed += 2 * sparse * latency
        per_token += 2 * sparse * (group - 1) / group * message * split.data / rate
    return fixed, per_token


def _link(gpu: Accelerator, gpus: int, able: Efficiency, gpus_per_node: int) -> tuple[float, float]:
    """Bytes per second per GPU, and latency of a collective, among so many GPUs."""
    if gpus > gpus_per_node and gpus > gpu.nvlink_domain_gpus:
        return _network(able), able.network_hop_seconds
    if gpu.nvlink and gpus <= gpu.nvlink_domain_gpus:
        return gpu.interconnect_bytes_per_second * able.link, able.collective_seconds
    # PCIe: the host bridge carries every pair's traffic, and more GPUs share it
    pcie = min(gpu.interconnect_bytes_per_second, 22e9) if gpu.nvlink else gpu.interconnect_bytes_per_second
    return max(pcie, 1e9) * able.link, able.collective_seconds * 3
