"""Turn a model's `config.json`, and the sizes of its files, into the facts that planning works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from inferfleet.planning.accelerators import GIB
from inferfleet.planning.config_reader import ModelFactsError, number, text_config
from inferfleet.planning.layers import expert_width, experts, read_layers
from inferfleet.planning.mixers import head_dim, kv_heads
from inferfleet.planning.quantization import DTYPE_BYTES, Quantization, read_quantization
from inferfleet.planning.tensors import Tensor, facts_from_tensors
from inferfleet.values import LayerGroup, ModelFacts, Reason

# `model_type` of the language part, where the reading of the config was checked against the real size
KNOWN: Final = frozenset(
    {
        "llama", "mistral", "mixtral", "ministral3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
        "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text",
        "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text", "gemma", "gemma2", "gemma3_text",
        "gemma3", "phi", "phi3", "phimoe", "gpt_oss", "deepseek_v2", "deepseek_v3", "deepseek_v32",
        "kimi_k2", "kimi_linear", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa",
        "llama4_text", "falcon", "falcon_h1", "falcon_mamba", "mamba", "mamba2", "jamba", "bamba",
        "nemotron", "nemotron_h", "granite", "granitemoe", "granitemoehybrid", "cohere", "cohere2",
        "olmo", "olmo2", "olmo3", "starcoder2", "gpt2", "gpt_neox", "gpt_bigcode", "opt", "bloom",
        "mpt", "gptj", "persimmon", "stablelm", "internlm2", "baichuan", "exaone", "exaone4",
        "minimax", "minimax_m1", "minimax_m2", "minimax_text_01", "ernie4_5", "ernie4_5_moe",
        "smollm3", "seed_oss", "hunyuan_v1_moe", "hunyuan_v1_dense", "dots1", "bailing_moe", "lfm2",
        "arcee", "mimo",
    }
)  # fmt: skip
# a file list this far from what the config implies is worth a word
_SIZE_TOLERANCE: Final = 0.15
_DEFAULT_CONTEXT: Final = 2048
_MOST_LAYERS: Final = 10_000
_DECODER_ONLY_MISSING: Final = frozenset({"bert", "roberta", "xlm-roberta", "vit", "clip", "whisper", "t5"})


def model_facts(
    config: Mapping[str, Any],
    weight_bytes: int | None,
    *,
    model_id: str,
    tensors: Mapping[str, Tensor] | None = None,
) -> ModelFacts:
    """Size a model.

    Args:
        config: The parsed `config.json`.
        weight_bytes: Size of all tensors, from the safetensors index or the files; None to reckon it from
            the config.
        model_id: What the user calls the model.
        tensors: Data type and shape by tensor name, as the safetensors headers say. Used for an
            architecture that is not known; its facts carry a warning either way.

    Raises:
        ModelFactsError: Something needed is missing or makes no sense; the message names it.
    """
    if not config:
        raise ModelFactsError("ModelConfigInvalid", "config.json is empty or not an object")
    try:
        return _read(config, weight_bytes, model_id, tensors)
    except ModelFactsError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # other people's files: whatever shape a field has, the answer is a reason and never a crash
        text = f"config.json has a field of a form that no model uses: {error}"
        raise ModelFactsError("ModelConfigInvalid", text) from error


def _read(
    config: Mapping[str, Any],
    weight_bytes: int | None,
    model_id: str,
    tensors: Mapping[str, Tensor] | None,
) -> ModelFacts:
    text = text_config(config)
    family = str(text.get("model_type", ""))
    if family in _DECODER_ONLY_MISSING or text.get("is_encoder_decoder"):
        raise ModelFactsError(
            "ModelUnsupported", f"{family or 'this model'} is not a decoder-only text model"
        )
    if family not in KNOWN and tensors:
        return facts_from_tensors(
            text, tensors, weight_bytes, model_id=model_id, architecture=_name(config, text)
        )
    facts = _sized(config, text, weight_bytes, model_id)
    if family in KNOWN:
        return facts
    unknown = Reason(
        "UnknownArchitecture",
        f"{_name(config, text)} is not a known architecture: read as a plain transformer, sizes may be off",
    )
    return replace(facts, warnings=(unknown, *facts.warnings))


def _name(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    architectures = config.get("architectures") or text.get("architectures") or ()
    return str(next(iter(architectures), "") or text.get("model_type") or "unknown")


def _sized(
    config: Mapping[str, Any], text: Mapping[str, Any], weight_bytes: int | None, model_id: str
) -> ModelFacts:
    hidden, vocab = number(text, "hidden_size"), number(text, "vocab")
    heads = number(text, "heads", 0)
    if not hidden or not vocab or not number(text, "layers"):
        raise ModelFactsError("ModelConfigInvalid", "hidden size, layers and vocabulary must be above zero")
    if number(text, "layers") > _MOST_LAYERS:
        raise ModelFactsError("ModelConfigInvalid", f"more than {_MOST_LAYERS} layers are no model")
    if 0 < experts(text) < number(text, "experts_per_token", 1):
        raise ModelFactsError("ModelConfigInvalid", "a token cannot pass more experts than there are")
    groups = read_layers(text)
    dtype = str(text.get("torch_dtype") or text.get("dtype") or "bfloat16").removeprefix("torch.")
    quantization = read_quantization({**config, **text})
    tied = bool(text.get("tie_word_embeddings", _tied_by_default(text)))
    table = vocab * hidden
    extra = _tower_parameters(config)
    every = sum(_layer(group) * group.layers for group in groups)
    routed = sum(group.expert_parameters * group.layers for group in groups)
    active = sum(group.active_expert_parameters * group.layers for group in groups)
    parameters = every + table * (1 if tied else 2) + hidden + extra
    native = DTYPE_BYTES.get(dtype, 2)
    facts = ModelFacts(
        model_id=model_id,
        architecture=_name(config, text),
        parameters=parameters,
        active_parameters=parameters - extra - routed + active,
        weight_bytes=_layer_bytes(groups, quantization, native)
        + (table * (1 if tied else 2) + extra) * native,
        layers=number(text, "layers"),
        hidden_size=hidden,
        intermediate_size=number(text, "intermediate_size_mlp", 0)
        or number(text, "intermediate", 4 * hidden),
        attention_heads=heads,
        kv_heads=kv_heads(text) if heads else 0,
        head_dim=head_dim(text) if heads else 0,
        vocab_size=vocab,
        max_context_tokens=_context(text),
        dtype=dtype,
        quantization=quantization.name if quantization else None,
        groups=groups,
        tied_embeddings=tied,
        embedding_bytes=table * native,
        expert_bytes=int(routed * (quantization.weight_bits / 8 if quantization else native)),
        extra_bytes=extra * native,
        experts=experts(text) if routed else 0,
        experts_per_token=number(text, "experts_per_token", 1) if routed else 0,
        moe_intermediate_size=expert_width(text) if routed else 0,
        weight_bits=quantization.weight_bits if quantization else 8.0 * native,
        activation_bits=quantization.activation_bits if quantization else 16,
        quantization_block=quantization.block if quantization else 0,
    )
    return _with_real_size(facts, text, weight_bytes) if weight_bytes else facts


def _layer(group: LayerGroup) -> int:
    return group.mixer_parameters + group.mlp_parameters + group.expert_parameters


def _layer_bytes(groups: tuple[LayerGroup, ...], quantization: Quantization | None, native: int) -> int:
    """Bytes of all layers: attention stays native where the checkpoint says so, MXFP4 packs only experts."""
    if quantization is None:
        return sum(_layer(group) * group.layers for group in groups) * native
    packed = quantization.weight_bits / 8
    mixer = native if quantization.skips_attention else packed
    total = 0.0
    for group in groups:
        dense = native if quantization.name == "mxfp4" and group.expert_parameters else packed
        total += group.layers * (
            group.mixer_parameters * mixer + group.mlp_parameters * dense + group.expert_parameters * packed
        )
    return int(total)


def _with_real_size(facts: ModelFacts, text: Mapping[str, Any], weight_bytes: int) -> ModelFacts:
    """Prefer the size of the files, less the multi-token-prediction layers that the engine leaves on disk."""
    spare = number(text, "num_nextn_predict_layers", 0)
    layers = (
        facts.weight_bytes - facts.embedding_bytes * (1 if facts.tied_embeddings else 2) - facts.extra_bytes
    )
    reckoned = facts.weight_bytes + spare * layers // facts.layers
    loaded = weight_bytes if weight_bytes < facts.weight_bytes else max(
        facts.weight_bytes, weight_bytes - spare * layers // facts.layers
    )  # fmt: skip
    scale = loaded / facts.weight_bytes
    measured = replace(facts, weight_bytes=loaded, expert_bytes=int(facts.expert_bytes * min(scale, 1.0)))
    if abs(weight_bytes / reckoned - 1) <= _SIZE_TOLERANCE:
        return measured
    return replace(
        measured,
        warnings=(
            Reason(
                "WeightsDiffer",
                f"the files hold {weight_bytes / GIB:.1f} GiB, the config implies {reckoned / GIB:.1f} GiB: "
                "planned with the files",
            ),
        ),
    )


def _tied_by_default(text: Mapping[str, Any]) -> bool:
    """What transformers assumes where the file is silent: untied, but for these families."""
    return str(text.get("model_type")) in {
        "gemma", "gemma2", "gemma3_text", "gemma3", "cohere", "cohere2", "gpt2", "gpt_bigcode", "bloom",
        "opt", "mpt", "mamba", "mamba2", "starcoder2", "lfm2",
    }  # fmt: skip


def _context(text: Mapping[str, Any]) -> int:
    """Return the longest context: as stated, or stretched by the YaRN factor that is stated with it."""
    stated = number(text, "context", _DEFAULT_CONTEXT)
    scaling = text.get("rope_scaling") or {}
    original = scaling.get("original_max_position_embeddings") if isinstance(scaling, Mapping) else None
    factor = scaling.get("factor") if isinstance(scaling, Mapping) else None
    if (
        original
        and factor
        and int(original) == stated
        and scaling.get("rope_type", scaling.get("type")) == "yarn"
    ):
        return int(stated * float(factor))
    return stated


def _tower_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of vision and audio towers: a plain transformer encoder each, projector included roughly."""
    total = 0
    for key in ("vision_config", "audio_config"):
        tower = config.get(key)
        if not isinstance(tower, Mapping):
            continue
        hidden = number(tower, "hidden_size", number(tower, "embed_dim", 0))
        layers = number(tower, "layers", number(tower, "depth", 0))
        intermediate = number(tower, "intermediate", 0) or int(hidden * float(tower.get("mlp_ratio", 4)))
        matrices = 3 if tower.get("hidden_act") == "silu" else 2
        merged = hidden * number(tower, "spatial_merge_size", 1) ** 2
        projector = merged * merged + merged * number(tower, "out_hidden_size", hidden)
        total += layers * (4 * hidden * hidden + matrices * hidden * intermediate) + projector
    return total
