"""Read a `config.json` by any of the names that model families use for the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

MOST: Final = 2**40
"""No size of any model is larger; products of sizes that are stay within a float."""


class ModelFactsError(ValueError):
    """The model cannot be sized. `code` is the reason of the condition, the message says what is missing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# where multimodal configs keep the language model, in the order of preference
_NESTED: Final = ("text_config", "llm_config", "language_config", "language_model", "thinker_config")
_INHERITED: Final = (
    "torch_dtype",
    "dtype",
    "quantization_config",
    "compression_config",
    "tie_word_embeddings",
)

_ALIASES: Final = MappingProxyType(
    {
        "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
        "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
        "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
        "intermediate": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "hidden_dim"),
        "vocab": ("vocab_size", "padded_vocab_size"),
        "context": (
            "max_position_embeddings",
            "max_sequence_length",
            "n_positions",
            "seq_length",
            "max_seq_len",
            "model_max_length",
        ),
        "experts": (
            "num_experts",
            "num_local_experts",
            "n_routed_experts",
            "moe_num_experts",
            "num_moe_experts",
        ),
        "experts_per_token": (
            "num_experts_per_tok",
            "num_experts_per_token",
            "top_k_experts",
            "moe_top_k",
            "moe_topk",
            "experts_per_token",
        ),
        "expert_intermediate": ("moe_intermediate_size", "moe_ffn_hidden_size", "expert_intermediate_size"),
        "head_dim": ("head_dim", "kv_channels", "attention_head_dim"),
    }
)

# what the classes of transformers assume where the published file leaves a key out
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "gemma3_text": {
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        "mistral": {"num_key_value_heads": 8},
        "mixtral": {"num_key_value_heads": 8},
    }
)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's part of a config, with what it inherits from the outer one.

    Multimodal configs keep it under `text_config` or another name; the outer `num_attention_heads` may then
    be that of another tower, or 1.
    """
    for key in _NESTED:
        inner = config.get(key)
        if isinstance(inner, Mapping) and (
            "model_type" in inner or _first(inner, "hidden_size") or _nested(inner)
        ):
            outer = {name: config[name] for name in _INHERITED if config.get(name) is not None}
            return text_config(
                {**outer, **{name: value for name, value in inner.items() if value is not None}}
            )
    defaults = _DEFAULTS.get(str(config.get("model_type", "")), {})
    # MPT nests its head counts; Whisper-like ones are refused later for want of a decoder-only shape
    attention = config.get("attn_config")
    flat = attention if isinstance(attention, Mapping) else {}
    return {**defaults, **flat, **{name: value for name, value in config.items() if value is not None}}


def _nested(config: Mapping[str, Any]) -> bool:
    return any(isinstance(config.get(key), Mapping) for key in _NESTED)


def _first(config: Mapping[str, Any], name: str) -> Any:
    return next((config[key] for key in _ALIASES[name] if config.get(key) is not None), None)


def number(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return a size by its common name.

    Args:
        config: The language model's part.
        name: A key of the alias table, or else the key itself.
        default: Taken where the config does not say.

    Raises:
        ModelFactsError: It is missing without a default, not a whole number, below zero or above `MOST`.
    """
    keys = _ALIASES.get(name, (name,))
    value = next((config[key] for key in keys if config.get(key) is not None), default)
    if isinstance(value, list | tuple):
        # per-layer sizes (OpenELM, Gemma 3n): the largest bounds every layer
        value = max(value, default=default)
    if value is None:
        raise ModelFactsError("ModelConfigIncomplete", f"config.json has none of {', '.join(keys)}")
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFactsError("ModelConfigInvalid", f"{keys[0]} is {value!r}, not a number") from error
    if not 0 <= whole <= MOST:
        side = "below zero" if whole < 0 else "more than any model has"
        raise ModelFactsError("ModelConfigInvalid", f"{keys[0]} is {value!r:.40}: {side}")
    return whole
