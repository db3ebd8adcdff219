"""What quantisation, the checkpoint's or one the user asks for, does to bytes and matrix formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from inferfleet.values import Accelerator, ModelFacts, Reason

DTYPE_BYTES: Final = MappingProxyType(
    {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "half": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
)


@dataclass(frozen=True, slots=True)
class Quantization:
    """`weight_bits` include the scales; `activation_bits` is the format that the matrix units compute in.

    `skips_attention` says that the checkpoint leaves the attention layers at its own dtype.
    """

    name: str
    weight_bits: float
    activation_bits: int
    block: int = 0
    skips_attention: bool = False


# scales: AWQ and GPTQ one float16 scale and one zero per group of 128 (+0.15 bit); MXFP4 one byte per 32
# (+0.25 bit, OCP Microscaling v1.0); NVFP4 one FP8 scale per 16 (+0.5 bit); FP8 block 128x128 negligible
_AWQ_BITS, _MXFP4_BITS, _NVFP4_BITS = 4.15, 4.25, 4.5
_ONLINE: Final = MappingProxyType(
    {
        "fp8": Quantization("fp8", 8, 8),
        "bitsandbytes": Quantization("bitsandbytes", 4.5, 16),
    }
)


def read_quantization(config: Mapping[str, Any]) -> Quantization | None:  # noqa: PLR0911 - a table of cases
    """Read `quantization_config` of a `config.json`; None for an unquantised checkpoint.

    Covers FP8 (per tensor and per block), AWQ, GPTQ, compressed-tensors, ModelOpt (FP8, NVFP4), MXFP4 and
    bitsandbytes. A method that is not known counts as unquantised: too large is the safe side.
    """
    section = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(section, Mapping):
        return None
    method = str(section.get("quant_method", "")).lower()
    match method:
        case "fp8" | "fbgemm_fp8":
            block = section.get("weight_block_size") or (0,)
            return Quantization("fp8", 8, 8, block=int(block[0]))
        case "awq" | "gptq" | "auto-round" | "awq_marlin" | "gptq_marlin":
            bits = float(section.get("bits") or section.get("w_bit") or 4)
            return Quantization(method.replace("_marlin", ""), bits + 0.15, 16, block=_group(section))
        case "mxfp4":
            return Quantization("mxfp4", _MXFP4_BITS, 16, block=32, skips_attention=True)
        case "compressed-tensors":
            return _compressed(section)
        case "bitsandbytes":
            four = bool(section.get("load_in_4bit") or section.get("_load_in_4bit"))
            return Quantization("bitsandbytes", 4.5 if four else 8, 16)
        case _ if "modelopt" in method or "quant_algo" in section:
            return _modelopt(section)
        case _:
            return None


def _group(section: Mapping[str, Any]) -> int:
    return max(0, int(section.get("group_size") or section.get("q_group_size") or 0))


def _modelopt(section: Mapping[str, Any]) -> Quantization:
    nested = section.get("quantization")
    inner = nested if isinstance(nested, Mapping) else section
    algorithm = str(inner.get("quant_algo", "")).upper()
    excluded = " ".join(map(str, inner.get("ignore") or inner.get("exclude_modules") or ()))
    skips = "self_attn" in excluded
    if "FP4" in algorithm:
        return Quantization("modelopt_fp4", _NVFP4_BITS, 4, block=16, skips_attention=skips)
    return Quantization("modelopt", 8, 8, skips_attention=skips)


def _compressed(section: Mapping[str, Any]) -> Quantization:
    """llm-compressor's format: one scheme per group of layers; the first one that has weights decides."""
    groups = [group for group in (section.get("config_groups") or {}).values() if isinstance(group, Mapping)]
    scheme = next((group for group in groups if group.get("weights")), {})
    weights = scheme.get("weights") or {}
    activations = scheme.get("input_activations") or {}
    bits = float(weights.get("num_bits") or 8)
    ignored = " ".join(map(str, section.get("ignore") or ()))
    group_size = int(weights.get("group_size") or 0)
    floats = str(weights.get("type", "int")) == "float"
    overhead = {True: 8 / group_size, False: 16 / group_size}[floats] if group_size > 0 else 0.0
    return Quantization(
        "compressed-tensors",
        bits + overhead,
        int(activations.get("num_bits") or 16),
        block=group_size,
        skips_attention="self_attn" in ignored,
    )


def requantise(model: ModelFacts, name: str) -> ModelFacts | Reason:
    """Return the model as the engine loads it under `--quantization name`, or why it cannot.

    Only what needs no other checkpoint: an unquantised one can be made FP8 or bitsandbytes while it loads,
    a quantised one can only be served as it is.
    """
    if name == model.quantization or (model.quantization or "").startswith(name):
        return model
    if model.quantization:
        return Reason(
            "QuantizationMismatch",
            f"the checkpoint is {model.quantization} and cannot be served as {name}: "
            f"name a {name} checkpoint as the model, or drop engine.quantization",
        )
    if name not in _ONLINE:
        return Reason(
            "QuantizationNeedsCheckpoint",
            f"{name} needs a checkpoint made for it; without one the engine can only do "
            f"{' or '.join(sorted(_ONLINE))} while it loads",
        )
    online = _ONLINE[name]
    whole = 8 * DTYPE_BYTES.get(model.dtype, 2)
    kept = min(model.weight_bytes, unquantised_bytes(model))
    shrink = online.weight_bits / whole
    return replace(
        model,
        quantization=name,
        weight_bits=online.weight_bits,
        activation_bits=online.activation_bits,
        weight_bytes=kept + int((model.weight_bytes - kept) * shrink),
        expert_bytes=int(model.expert_bytes * shrink),
    )


def unquantised_bytes(model: ModelFacts) -> int:
    """Bytes that no quantisation touches: vocabulary tables and what is not text."""
    tables = model.embedding_bytes or model.vocab_size * model.hidden_size * DTYPE_BYTES.get(model.dtype, 2)
    return tables * (1 if model.tied_embeddings else 2) + model.extra_bytes


_UNSTATED: Final = (0, 0)


def unsupported_format(model: ModelFacts, gpu: Accelerator) -> Reason | None:
    """Say why the GPU cannot run the checkpoint's format at all, None where it can (if only weight-only).

    Compute capabilities as in vLLM's table of supported quantisation hardware: AWQ and GPTQ from 7.5
    (Turing), FP8, MXFP4 and NVFP4 from 8.0 (weights unpacked into 16 bit below 8.9, 9.0 and 10.0). AMD: FP8
    on MI300.
    """
    if gpu.vendor != "nvidia" or not model.quantization or gpu.compute_capability == _UNSTATED:
        return None
    needed = (7, 0) if model.quantization == "bitsandbytes" else (7, 5)
    if any(part in model.quantization for part in ("fp8", "fp4", "modelopt")):
        needed = (8, 0)
    if gpu.compute_capability >= needed:
        return None
    have = ".".join(map(str, gpu.compute_capability))
    return Reason(
        "FormatUnsupported",
        f"{model.quantization} needs compute capability {needed[0]}.{needed[1]}, {gpu.name} has {have}",
    )


def matrix_flops(model: ModelFacts, gpu: Accelerator) -> float:
    """Return the dense peak rate of one GPU in the format in which the model's layers compute.

    Weight-only formats, and activations in a format that the GPU lacks, compute in 16 bit.
    """
    sixteen = gpu.bf16_flops or gpu.fp16_flops
    if model.activation_bits <= 4 and gpu.fp4_flops:  # noqa: PLR2004 - bits
        return gpu.fp4_flops
    if model.activation_bits <= 8:  # noqa: PLR2004 - bits
        return max(gpu.fp8_flops, gpu.int8_ops if model.quantization == "compressed-tensors" else 0, sixteen)
    return sixteen
