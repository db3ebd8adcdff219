"""What planning must know of a model: the size of each kind of layer, and what it keeps per token."""

from __future__ import annotations

from enum import StrEnum

from inferfleet.values.frozen import dataclass
from inferfleet.values.reason import Reason


class Mixer(StrEnum):
    """How a layer mixes tokens, which decides what it keeps in the KV cache."""

    ATTENTION = "attention"
    SLIDING = "sliding-window"
    LATENT = "latent"
    RECURRENT = "recurrent"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Layers of one shape. All sizes are of one layer.

    `mlp_parameters` are those every token passes (dense MLP, shared experts, router); `expert_parameters`
    the routed experts together, of which a token passes `active_expert_parameters`.
    `replicated_parameters` is the share of `mixer_parameters` that tensor parallelism does not shard.
    A token keeps `kv_heads x (key_dim + value_dim)` elements, or `latent_dim` elements whatever the tensor
    parallelism, and `index_bytes` beside it (DeepSeek's sparse-attention index); of the last `window_tokens`
    tokens only, where set. `state_bytes` is kept per sequence, `state_copies` times with prefix caching.
    """

    layers: int
    mixer: Mixer = Mixer.ATTENTION
    mixer_parameters: int = 0
    mlp_parameters: int = 0
    expert_parameters: int = 0
    active_expert_parameters: int = 0
    replicated_parameters: int = 0
    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    latent_dim: int = 0
    index_bytes: int = 0
    window_tokens: int | None = None
    state_bytes: int = 0
    state_copies: int = 2


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Sizes read from a model's `config.json` and safetensors index.

    `weight_bytes` is the size of the tensors that the engine loads; of it `embedding_bytes` is one
    vocabulary table (there are two unless `tied_embeddings`), `expert_bytes` the routed experts and
    `extra_bytes` what is not text (a vision or audio tower). `active_parameters` are those that one token
    touches. `weight_bits` and `activation_bits` are what the matrix units see in the quantised layers;
    `quantization_block` is the width of a scale block (0: none). `groups` empty means `layers` alike,
    dense and fully attending. `warnings` say where a size is a guess.
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
    groups: tuple[LayerGroup, ...] = ()
    tied_embeddings: bool = False
    embedding_bytes: int = 0
    expert_bytes: int = 0
    extra_bytes: int = 0
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    weight_bits: float = 16.0
    activation_bits: int = 16
    quantization_block: int = 0
    warnings: tuple[Reason, ...] = ()

    def __hash__(self) -> int:
        """Few fields tell models apart, and the planner asks often."""
        return hash((self.model_id, self.weight_bytes, self.quantization))

    @property
    def layer_groups(self) -> tuple[LayerGroup, ...]:
        """The groups, or the one group that a plain dense model consists of."""
        if self.groups:
            return self.groups
        attention = self.hidden_size * self.head_dim * 2 * (self.attention_heads + self.kv_heads)
        return (
            LayerGroup(
                layers=self.layers,
                mixer_parameters=attention,
                mlp_parameters=3 * self.hidden_size * self.intermediate_size,
                kv_heads=self.kv_heads,
                key_dim=self.head_dim,
                value_dim=self.head_dim,
            ),
        )
