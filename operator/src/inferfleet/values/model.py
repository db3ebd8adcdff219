"""What planning must know of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Sizes read from a model's `config.json` and safetensors index.

    `weight_bytes` is the size of all tensors on disk; `active_parameters` those that one token touches
    (all of them for a dense model).
    """

    model_id: str
    architecture: str
    parameters: int
    active_parameters: int
    weight_bytes: int
    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_context_tokens: int
    dtype: str = "bfloat16"
    quantization: str | None = None
