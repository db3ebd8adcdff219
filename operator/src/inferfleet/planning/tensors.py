"""Size a model of an unknown architecture from the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, Final

from inferfleet.planning.config_reader import ModelFactsError, number
from inferfleet.values import LayerGroup, Mixer, ModelFacts, Reason

# data types of the safetensors format
_BITS: Final = MappingProxyType(
    {
        "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "BF16": 16, "F16": 16, "I16": 16,
        "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
    }
)  # fmt: skip
_LAYER: Final = re.compile(r"\.(?:layers|h|blocks|layer)\.(\d+)\.")
_EXPERT: Final = re.compile(r"\bexperts\b")
_MIXER: Final = re.compile(r"attn|attention|mixer|mamba|ssm|linear_attn")
_TABLE: Final = re.compile(r"(embed_tokens|wte|word_embeddings|tok_embeddings|lm_head)\.weight$")
_KEY: Final = re.compile(r"(k_proj|key|wk)\.weight$")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Its size on disk."""
        return self.elements * _BITS.get(self.dtype.upper(), 16) // 8


def facts_from_tensors(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    weight_bytes: int | None,
    *,
    model_id: str,
    architecture: str,
) -> ModelFacts:
    """Add up the tensors by what their names say they are.

    Layers whose names hold no key projection are taken to keep a full KV cache too unless some do: a cache
    that is too large costs a little, one that is too small breaks the promise.

    Raises:
        ModelFactsError: No tensor belongs to a numbered layer.
    """
    layers = {int(match[1]) for name in tensors if (match := _LAYER.search(name))}
    if not layers:
        raise ModelFactsError("ModelTensorsUnreadable", "no tensor name holds a layer number")
    inside = {name: tensor for name, tensor in tensors.items() if _LAYER.search(name)}
    experts = {name: tensor for name, tensor in inside.items() if _EXPERT.search(name)}
    mixing = sum(t.elements for name, t in inside.items() if name not in experts and _MIXER.search(name))
    every = sum(tensor.elements for tensor in inside.values())
    routed = sum(tensor.elements for tensor in experts.values())
    tables = [tensor for name, tensor in tensors.items() if _TABLE.search(name)]
    head_size = number(config, "head_dim", 0) or number(config, "hidden_size", 0) // max(
        1, number(config, "heads", 1)
    )
    keys = [tensor.shape[0] for name, tensor in inside.items() if _KEY.search(name)]
    attending = len(keys) or len(layers)
    kv = (
        max(keys, default=0) // head_size
        if keys and head_size
        else number(config, "kv_heads", number(config, "heads", 1))
    )
    count, per_token = number(config, "experts", 0), number(config, "experts_per_token", 1)
    active = routed * per_token // count if count else routed
    share = len(layers)
    parameters = sum(tensor.elements for tensor in tensors.values())
    size = sum(tensor.size_bytes for tensor in tensors.values())
    base = LayerGroup(
        layers=attending,
        mixer_parameters=mixing // share,
        mlp_parameters=(every - routed - mixing) // share,
        expert_parameters=routed // share,
        active_expert_parameters=active // share,
        kv_heads=kv,
        key_dim=head_size,
        value_dim=head_size,
    )
    rest = LayerGroup(
        layers=share - attending,
        mixer=Mixer.RECURRENT,
        mixer_parameters=base.mixer_parameters,
        mlp_parameters=base.mlp_parameters,
        expert_parameters=base.expert_parameters,
        active_expert_parameters=base.active_expert_parameters,
    )
    table = max((tensor.size_bytes for tensor in tables), default=0)
    return ModelFacts(
        model_id=model_id,
        architecture=architecture,
        parameters=parameters,
        active_parameters=parameters - routed + active,
        weight_bytes=weight_bytes or size,
        layers=share,
        hidden_size=number(config, "hidden_size", tables[0].shape[-1] if tables else 0),
        intermediate_size=number(config, "intermediate", 0),
        attention_heads=number(config, "heads", kv),
        kv_heads=kv,
        head_dim=head_size,
        vocab_size=number(config, "vocab", tables[0].shape[0] if tables else 0),
        max_context_tokens=number(config, "context", 2048),
        dtype="bfloat16",
        groups=(base, rest) if rest.layers else (base,),
        tied_embeddings=len(tables) == 1,
        embedding_bytes=table,
        expert_bytes=sum(tensor.size_bytes for tensor in experts.values()),
        experts=count if routed else 0,
        experts_per_token=per_token if routed else 0,
        weight_bits=8 * size / parameters,
        warnings=(
            Reason(
                "UnknownArchitecture",
                f"{architecture} is not a known architecture: sized from its {len(tensors)} tensors",
            ),
        ),
    )
