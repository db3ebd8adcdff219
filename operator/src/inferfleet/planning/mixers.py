"""How each layer of a model mixes tokens: its parameters, and what it keeps per token or per sequence.

Shapes follow the modelling code of transformers and vLLM for each family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from inferfleet.planning.config_reader import number
from inferfleet.values import LayerGroup, Mixer

# names that `layer_types` and its older kin use
_LAYER_TYPES: Final = MappingProxyType(
    {
        "full_attention": Mixer.ATTENTION,
        "attention": Mixer.ATTENTION,
        "hybrid": Mixer.ATTENTION,
        "sliding_attention": Mixer.SLIDING,
        "chunked_attention": Mixer.SLIDING,
        "linear_attention": Mixer.RECURRENT,
        "mamba": Mixer.RECURRENT,
        "mamba2": Mixer.RECURRENT,
        "conv": Mixer.RECURRENT,
        "recurrent": Mixer.RECURRENT,
    }
)
# Nemotron-H writes one letter per layer; a layer there is either a mixer or an MLP
_LETTERS: Final = MappingProxyType(
    {"M": Mixer.RECURRENT, "*": Mixer.ATTENTION, "-": Mixer.NONE, "E": Mixer.NONE}
)
# families whose recurrent states the engine keeps in float32 although their config does not say so
_FLOAT32_STATES: Final = frozenset({"nemotron_h", "qwen3_5_text", "qwen3_5_moe_text"})
_CONVOLUTION_ELEMENT_BYTES: Final = 2


def mixers(config: Mapping[str, Any]) -> tuple[Mixer, ...]:
    """Return the kind of every layer, first to last."""
    layers = number(config, "layers")
    full = Mixer.LATENT if config.get("kv_lora_rank") else Mixer.ATTENTION
    kinds = _listed(config, layers) or _periodic(config, layers) or _windowed(config, layers)
    return tuple(full if kind is Mixer.ATTENTION else kind for kind in kinds)


def _listed(config: Mapping[str, Any], layers: int) -> Sequence[Mixer] | None:
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return [_LETTERS.get(letter, Mixer.ATTENTION) for letter in pattern[:layers]]
    for key in ("layer_types", "layers_block_type", "block_types"):
        listed = config.get(key)
        if isinstance(listed, list) and listed:
            repeated = (listed * (layers // len(listed) + 1))[:layers]
            return [_LAYER_TYPES.get(str(kind), Mixer.ATTENTION) for kind in repeated]
    linear = config.get("linear_attn_config")
    if isinstance(linear, Mapping):
        full = set(linear.get("full_attn_layers") or ())
        return [Mixer.ATTENTION if i + 1 in full else Mixer.RECURRENT for i in range(layers)]
    types = config.get("attn_type_list")
    if isinstance(types, list):
        return [Mixer.ATTENTION if kind == 1 else Mixer.RECURRENT for kind in types[:layers]]
    indices = config.get("attn_layer_indices")
    if isinstance(indices, list):
        return [Mixer.ATTENTION if i in indices else Mixer.RECURRENT for i in range(layers)]
    return None


def _periodic(config: Mapping[str, Any], layers: int) -> Sequence[Mixer] | None:
    if config.get("attn_layer_period"):
        period, offset = number(config, "attn_layer_period"), number(config, "attn_layer_offset", 0)
        return [Mixer.ATTENTION if i % period == offset else Mixer.RECURRENT for i in range(layers)]
    if config.get("full_attention_interval"):
        interval = number(config, "full_attention_interval")
        return [Mixer.RECURRENT if (i + 1) % interval else Mixer.ATTENTION for i in range(layers)]
    if str(config.get("model_type", "")) in {"mamba", "mamba2", "falcon_mamba"}:
        return [Mixer.RECURRENT] * layers
    return None


def _windowed(config: Mapping[str, Any], layers: int) -> Sequence[Mixer]:
    family = str(config.get("model_type", ""))
    if config.get("attention_chunk_size"):
        # Llama 4: three of four layers attend within chunks, the fourth (no rotary embedding) to everything
        return [Mixer.SLIDING if (i + 1) % 4 else Mixer.ATTENTION for i in range(layers)]
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return [Mixer.ATTENTION] * layers
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern")
    if pattern is None:
        pattern = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4}.get(family)
    if isinstance(pattern, int) and pattern > 1:
        return [Mixer.SLIDING if (i + 1) % pattern else Mixer.ATTENTION for i in range(layers)]
    if family.startswith("qwen"):
        dense = number(config, "max_window_layers", 0)
        return [Mixer.ATTENTION if i < dense else Mixer.SLIDING for i in range(layers)]
    return [Mixer.SLIDING] * layers


def mixer_shape(config: Mapping[str, Any], mixer: Mixer) -> LayerGroup:
    """Return one layer of this kind without its MLP."""
    match mixer:
        case Mixer.ATTENTION:
            return _attention(config, None)
        case Mixer.SLIDING:
            window = number(config, "sliding_window", 0) or number(config, "attention_chunk_size", 0)
            return _attention(config, window or None)
        case Mixer.LATENT:
            return _latent(config)
        case Mixer.RECURRENT:
            return _recurrent(config)
        case Mixer.NONE:
            return LayerGroup(layers=1, mixer=Mixer.NONE)


def kv_heads(config: Mapping[str, Any]) -> int:
    """Return the KV heads: as stated, one under multi-query, else as many as query heads."""
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return number(config, "kv_heads", 1) if "multi_query_group_num" in config else 1
    return number(config, "kv_heads", number(config, "heads"))


def head_dim(config: Mapping[str, Any]) -> int:
    """Return the width of one head: as stated, else hidden size over heads."""
    return number(config, "head_dim", number(config, "hidden_size") // max(1, number(config, "heads", 1)))


def _attention(config: Mapping[str, Any], window: int | None) -> LayerGroup:
    """Grouped-query attention (Ainslie et al. 2023); a gate on the output doubles the query projection."""
    hidden, heads, kv, dim = (
        number(config, "hidden_size"),
        number(config, "heads"),
        kv_heads(config),
        head_dim(config),
    )
    value_dim = number(config, "v_head_dim", dim)
    gated = bool(config.get("attn_output_gate")) or config.get("model_type") == "qwen3_next"
    queries = heads * dim * (2 if gated else 1)
    parallel = _mamba2(config) if config.get("model_type") == "falcon_h1" else None
    return LayerGroup(
        layers=1,
        mixer=Mixer.SLIDING if window else Mixer.ATTENTION,
        mixer_parameters=hidden * (queries + kv * (dim + value_dim) + heads * value_dim)
        + (parallel.mixer_parameters if parallel else 0),
        kv_heads=kv,
        key_dim=dim,
        value_dim=value_dim,
        window_tokens=window,
        state_bytes=parallel.state_bytes if parallel else 0,
    )


def _latent(config: Mapping[str, Any]) -> LayerGroup:
    """Multi-head latent attention (DeepSeek-V2, section 2.1): one latent and one rotary key per token.

    The down projections are replicated on every GPU of a tensor-parallel group, as is the latent.
    DeepSeek-V3.2's index keeps 128 FP8 elements and a float32 scale per token and layer beside it.
    """
    hidden, heads = number(config, "hidden_size"), number(config, "heads")
    rank, rope = number(config, "kv_lora_rank"), number(config, "qk_rope_head_dim")
    nope, value = number(config, "qk_nope_head_dim"), number(config, "v_head_dim")
    query_rank = number(config, "q_lora_rank", 0)
    query = (hidden + heads * (nope + rope)) * query_rank if query_rank else hidden * heads * (nope + rope)
    down = hidden * (rank + rope) + hidden * query_rank
    index = number(config, "index_head_dim", 0)
    index_heads = number(config, "index_n_heads", 0)
    indexer = index * (index_heads * query_rank + hidden) + hidden * index_heads
    return LayerGroup(
        layers=1,
        mixer=Mixer.LATENT,
        mixer_parameters=query + hidden * (rank + rope) + rank * heads * (nope + value)
        + heads * value * hidden + indexer,
        replicated_parameters=down + indexer,
        key_dim=nope + rope,
        value_dim=value,
        latent_dim=rank + rope,
        index_bytes=index + 4 * -(-index // 128) if index else 0,
    )  # fmt: skip


def _recurrent(config: Mapping[str, Any]) -> LayerGroup:
    if config.get("linear_num_value_heads"):
        return _delta_net(config)
    if isinstance(config.get("linear_attn_config"), Mapping):
        return _kimi_delta(config)
    if config.get("attn_type_list"):
        return _lightning(config)
    if config.get("mamba_num_heads") or config.get("mamba_n_heads") or config.get("model_type") == "mamba2":
        return _mamba2(config)
    if config.get("conv_L_cache"):
        hidden = number(config, "hidden_size")
        state = hidden * number(config, "conv_L_cache") * _CONVOLUTION_ELEMENT_BYTES
        return LayerGroup(1, Mixer.RECURRENT, mixer_parameters=4 * hidden * hidden, state_bytes=state)
    return _mamba1(config)


def _state_element_bytes(config: Mapping[str, Any]) -> int:
    """As the config says, else float32 for the families that the engine keeps so, else the model's type."""
    stated = config.get("mamba_ssm_dtype") or config.get("mamba_ssm_cache_dtype")
    if stated is None and str(config.get("model_type")) in _FLOAT32_STATES:
        stated = "float32"
    return 4 if str(stated or config.get("torch_dtype")).endswith("float32") else 2


def _delta_net(config: Mapping[str, Any]) -> LayerGroup:
    """Gated DeltaNet (Yang et al. 2024), as in Qwen3-Next and Qwen3.5."""
    hidden = number(config, "hidden_size")
    value_heads, key_heads = (
        number(config, "linear_num_value_heads"),
        number(config, "linear_num_key_heads"),
    )
    key_dim, value_dim = number(config, "linear_key_head_dim"), number(config, "linear_value_head_dim")
    keys, values = key_heads * key_dim, value_heads * value_dim
    kernel = number(config, "linear_conv_kernel_dim", 4)
    return LayerGroup(
        layers=1,
        mixer=Mixer.RECURRENT,
        mixer_parameters=hidden * (2 * keys + 3 * values + 2 * value_heads) + kernel * (2 * keys + values),
        state_bytes=value_heads * key_dim * value_dim * _state_element_bytes(config)
        + (2 * keys + values) * (kernel - 1) * _CONVOLUTION_ELEMENT_BYTES,
    )


def _kimi_delta(config: Mapping[str, Any]) -> LayerGroup:
    """Kimi Delta Attention (Kimi Linear, 2025): full-rank q, k, v, o and two low-rank gates."""
    linear = config["linear_attn_config"]
    hidden, heads, dim = number(config, "hidden_size"), number(linear, "heads"), number(linear, "head_dim")
    kernel, width = number(linear, "short_conv_kernel_size", 4), heads * dim
    return LayerGroup(
        layers=1,
        mixer=Mixer.RECURRENT,
        mixer_parameters=4 * hidden * width
        + 2 * dim * (hidden + width)
        + hidden * heads
        + 3 * kernel * width,
        state_bytes=width * dim * 4  # float32, whatever the model is
        + 3 * width * (kernel - 1) * _CONVOLUTION_ELEMENT_BYTES,
    )


def _lightning(config: Mapping[str, Any]) -> LayerGroup:
    """Lightning attention (MiniMax-01): q, k, v, an output gate and the output."""
    width = number(config, "heads") * head_dim(config)
    return LayerGroup(
        layers=1,
        mixer=Mixer.RECURRENT,
        mixer_parameters=5 * number(config, "hidden_size") * width,
        state_bytes=width * head_dim(config) * _state_element_bytes(config),
    )


def _mamba2(config: Mapping[str, Any]) -> LayerGroup:
    """Mamba-2 (Dao and Gu 2024) under the names of Nemotron-H, Falcon-H1, Bamba, Granite 4 and Mamba-2."""
    hidden = number(config, "hidden_size")
    expand = number(config, "mamba_expand", number(config, "expand", 2))
    heads = _either(config, ("mamba_num_heads", "mamba_n_heads"), number(config, "heads", 0))
    dim = _either(config, ("mamba_head_dim", "mamba_d_head"), 0) or number(config, "head_dim", 0)
    inner = heads * dim or expand * hidden
    state = _either(config, ("ssm_state_size", "mamba_d_state", "state_size"), 128)
    groups = _either(config, ("mamba_n_groups", "n_groups"), 1)
    kernel = _either(config, ("conv_kernel", "mamba_d_conv"), 4)
    convolved = inner + 2 * groups * state
    return LayerGroup(
        layers=1,
        mixer=Mixer.RECURRENT,
        mixer_parameters=hidden * (inner + convolved + heads) + inner * hidden + convolved * kernel,
        state_bytes=inner * state * _state_element_bytes(config)
        + convolved * (kernel - 1) * _CONVOLUTION_ELEMENT_BYTES,
        # vLLM also keeps the state at the last full block of the prompt
        state_copies=3,
    )


def _mamba1(config: Mapping[str, Any]) -> LayerGroup:
    """Mamba (Gu and Dao 2023), as in Jamba and Falcon-Mamba."""
    hidden = number(config, "hidden_size")
    inner = _either(config, ("mamba_expand", "expand"), 2) * hidden
    state = _either(config, ("mamba_d_state", "state_size"), 16)
    kernel = _either(config, ("mamba_d_conv", "conv_kernel"), 4)
    rank = _either(config, ("mamba_dt_rank", "time_step_rank"), -(-hidden // 16))
    return LayerGroup(
        layers=1,
        mixer=Mixer.RECURRENT,
        mixer_parameters=3 * hidden * inner + inner * (2 * rank + 3 * state + kernel),
        state_bytes=inner
        * (state * _state_element_bytes(config) + (kernel - 1) * _CONVOLUTION_ELEMENT_BYTES),
    )


def _either(config: Mapping[str, Any], keys: Sequence[str], default: int) -> int:
    key = next((key for key in keys if isinstance(config.get(key), int)), None)
    return number(config, key) if key else default
