"""Models are sized as their cards and files say."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from planning_cases import model

from inferfleet.planning import (
    ModelFactsError,
    Tensor,
    catalogue_facts,
    catalogue_ids,
    model_facts,
)
from inferfleet.planning.kv_cache import cache_layout, kv_bytes_per_token
from inferfleet.planning.memory import weights_bytes_per_gpu
from inferfleet.planning.split import Split
from inferfleet.values import Mixer

GIB = 1 << 30
RECORDED: dict[str, dict[str, Any]] = json.loads(
    files("inferfleet.planning").joinpath("catalogue.json").read_text(encoding="utf-8")
)["models"]

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def test_the_catalogue_holds_at_least_forty_models_and_finds_them_in_any_case():
    assert len(catalogue_ids()) >= 40
    assert catalogue_facts("QWEN/qwen3-32b") is not None
    assert catalogue_facts("nobody/nothing") is None


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_reading_a_recorded_config_gives_the_parameters_that_its_card_states(name: str):
    entry = RECORDED[name]
    facts = model_facts(entry["config"], None, model_id=name)
    # cards round to the billion at worst: 3 %
    assert facts.parameters == pytest.approx(entry["published_parameters"], rel=0.03)
    assert not facts.warnings
    stated = entry.get("published_active_parameters")
    if stated:
        # cards differ in whether they count the vocabulary tables as active: none, one or two of them
        table = facts.vocab_size * facts.hidden_size
        assert (
            min(abs(facts.active_parameters - tables * table - stated) for tables in (0, 1, 2))
            < 0.15 * stated
        )


@pytest.mark.parametrize("name", sorted(name for name, entry in RECORDED.items() if "weight_bytes" in entry))
def test_bytes_reckoned_from_the_config_are_those_of_the_files(name: str):
    entry = RECORDED[name]
    reckoned = model_facts(entry["config"], None, model_id=name).weight_bytes
    assert reckoned == pytest.approx(entry["weight_bytes"], rel=0.035)


@pytest.mark.parametrize(
    ("name", "element_bytes", "expected"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 2, 131072),
        ("Qwen/Qwen3-32B", 2, 262144),
        ("meta-llama/Llama-3.1-70B-Instruct", 2, 327680),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 2, 131072),
        ("Qwen/Qwen3-30B-A3B", 2, 98304),
        ("deepseek-ai/DeepSeek-V3", 1, 35136),
    ],
)
def test_kv_bytes_per_token_are_the_reference_values(name: str, element_bytes: int, expected: int):
    assert kv_bytes_per_token(model(name), Split(), element_bytes) == expected


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 14.96),
        ("Qwen/Qwen3-32B", 61.02),
        ("meta-llama/Llama-3.1-70B-Instruct", 131.4),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 86.7),
        ("Qwen/Qwen3-30B-A3B", 56.3),
    ],
)
def test_weights_are_the_reference_values(name: str, gib: float):
    assert model(name).weight_bytes / GIB == pytest.approx(gib, rel=0.011)


def test_the_latent_of_mla_does_not_shrink_with_tensor_parallelism():
    deepseek = model("deepseek-ai/DeepSeek-V3")
    assert kv_bytes_per_token(deepseek, Split(8), 1) == kv_bytes_per_token(deepseek, Split(1), 1)


def test_kv_heads_replicate_past_their_number():
    qwen = model("Qwen/Qwen3-30B-A3B")  # 4 KV heads
    assert kv_bytes_per_token(qwen, Split(4), 2) == kv_bytes_per_token(qwen, Split(8), 2) == 98304 // 4


def test_a_sliding_window_bounds_what_a_long_sequence_keeps():
    gemma = model("google/gemma-3-27b-it")
    sliding = sum(group.layers for group in gemma.layer_groups if group.mixer is Mixer.SLIDING)
    assert (sliding, gemma.layers) == (52, 62)
    per_layer = 16 * 2 * 128 * 2
    layout = cache_layout(gemma, Split(), 2)
    # groups of 10 layers: one attends to everything, six slide (52 layers padded to 60), a block more each
    assert (layout.full_groups, layout.windows) == (1, ((1024, 6),))
    assert layout.request_bytes(32768) == per_layer * 10 * (32768 + 6 * (1024 + 16))


def test_recurrent_layers_keep_a_state_per_sequence_and_nothing_per_token():
    hybrid = model("Qwen/Qwen3-Next-80B-A3B-Instruct")
    attending = sum(group.layers for group in hybrid.layer_groups if group.mixer is Mixer.ATTENTION)
    assert attending == 12
    assert kv_bytes_per_token(hybrid, Split(), 2) == 12 * 2 * 2 * 256 * 2
    states = [group.state_bytes for group in hybrid.layer_groups if group.state_bytes]
    assert states == [32 * 128 * 128 * 2 + (2 * 2048 + 4096) * 3 * 2]


@pytest.mark.parametrize(
    ("name", "tensor", "element_bytes", "length", "reported"),
    [
        # GiB of KV cache and concurrency that real engines reported: benchmarks/planner/engine_starts.csv
        ("meta-llama/Llama-3.3-70B-Instruct", 4, 2, 8192, (90.23, 144.36)),
        ("deepseek-ai/DeepSeek-R1", 8, 2, 8192, (41.6, 77.59)),
        ("deepseek-ai/DeepSeek-V3.2", 8, 2, 8192, (42.19, 70.6)),
        ("google/gemma-3-27b-it", 1, 2, 4096, (109.86, 50.05)),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 1, 1, 8192, (93.13, 1299.0)),
        ("Qwen/Qwen3.5-397B-A17B", 4, 2, 8192, (26.76, 161.0)),
    ],
)
def test_the_cache_is_laid_out_as_engines_report_it(
    name: str, tensor: int, element_bytes: int, length: int, reported: tuple[float, float]
):
    gib, concurrency = reported
    layout = cache_layout(model(name), Split(tensor), element_bytes, prefix_caching=False)
    tokens = layout.capacity_tokens(int(gib * GIB), length, in_flight_tokens=8192)
    assert tokens / length == pytest.approx(concurrency, rel=0.003)


_HYBRID: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 320,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "n_groups": 2,
    "conv_kernel": 4,
    "expand": 2,
}


@pytest.mark.parametrize(
    ("config", "reported"),
    [
        # tokens in 1 GiB that vLLM 0.32 reported for a context of 2,048: benchmarks/planner/cpu_engine.py
        (
            {
                "architectures": ["NemotronHForCausalLM"],
                "model_type": "nemotron_h",
                "num_hidden_layers": 8,
                "hybrid_override_pattern": "M-M-M*M-",
                "mamba_num_heads": 8,
                "mamba_head_dim": 32,
                "ssm_state_size": 64,
            },
            1_242_680,
        ),
        (
            {
                "architectures": ["Mamba2ForCausalLM"],
                "model_type": "mamba2",
                "num_hidden_layers": 4,
                "num_heads": 8,
                "state_size": 64,
                "mamba_ssm_cache_dtype": "float32",
                "num_attention_heads": 0,
                "num_key_value_heads": 0,
            },
            8_011_776,
        ),
    ],
)
def test_recurrent_states_are_kept_as_often_as_the_engine_keeps_them(config: dict[str, Any], reported: int):
    model = model_facts({**_HYBRID, **config}, None, model_id="probe")
    layout = cache_layout(model, Split(), 2, block_tokens=128)
    assert layout.capacity_tokens(GIB, 2048, in_flight_tokens=512) == reported


def test_experts_are_told_apart_from_what_every_token_passes():
    gpt = model("openai/gpt-oss-120b")
    assert (gpt.experts, gpt.experts_per_token, gpt.quantization) == (128, 4, "mxfp4")
    assert 0.9 < gpt.expert_bytes / gpt.weight_bytes < 0.97


@pytest.mark.parametrize(
    ("name", "quantization", "weight_bits", "activation_bits"),
    [
        ("Qwen/Qwen3-32B-FP8", "fp8", 8, 8),
        ("deepseek-ai/DeepSeek-V3", "fp8", 8, 8),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "awq", 4.15, 16),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-GPTQ-INT4", "gptq", 4.15, 16),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "compressed-tensors", 8, 8),
        ("RedHatAI/Meta-Llama-3.1-70B-Instruct-quantized.w4a16", "compressed-tensors", 4.125, 16),
        ("nvidia/Qwen3-32B-NVFP4", "modelopt_fp4", 4.5, 4),
        ("openai/gpt-oss-20b", "mxfp4", 4.25, 16),
    ],
)
def test_quantised_checkpoints_are_understood(
    name: str, quantization: str, weight_bits: float, activation_bits: int
):
    facts = model(name)
    assert facts.quantization == quantization
    assert facts.weight_bits == pytest.approx(weight_bits)
    assert facts.activation_bits == activation_bits


def test_a_multimodal_config_is_read_where_its_language_model_is():
    facts = model_facts(
        {
            "model_type": "someone_vl",
            "num_attention_heads": 1,
            "text_config": LLAMA,
            "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096},
        },
        None,
        model_id="vl",
    )
    assert (facts.attention_heads, facts.kv_heads) == (32, 8)
    assert facts.extra_bytes > 24 * 12 * 1024 * 1024


def test_files_beat_the_config_and_a_large_difference_is_said():
    exact = model_facts(LLAMA, 16060522496, model_id="m")
    assert (exact.weight_bytes, exact.warnings) == (16060522496, ())
    odd = model_facts(LLAMA, 30_000_000_000, model_id="m")
    assert [warning.code for warning in odd.warnings] == ["WeightsDiffer"]


@pytest.mark.parametrize(
    ("config", "code", "names"),
    [
        ({}, "ModelConfigInvalid", "empty"),
        ({"model_type": "llama"}, "ModelConfigIncomplete", "hidden_size"),
        ({**LLAMA, "num_hidden_layers": "many"}, "ModelConfigInvalid", "num_hidden_layers"),
        ({**LLAMA, "vocab_size": 0}, "ModelConfigInvalid", "vocabulary"),
        ({**LLAMA, "num_hidden_layers": 10**13}, "ModelConfigInvalid", "layers"),
        ({**LLAMA, "hidden_size": -1}, "ModelConfigInvalid", "hidden_size is -1: below zero"),
        ({**LLAMA, "sliding_window": -47}, "ModelConfigInvalid", "sliding_window is -47"),
        ({**LLAMA, "hidden_size": 1e152}, "ModelConfigInvalid", "hidden_size is 1e\\+152: more than any"),
        ({**LLAMA, "hidden_size": float("inf")}, "ModelConfigInvalid", "hidden_size is inf"),
        ({**LLAMA, "num_experts": 4, "num_experts_per_tok": 5}, "ModelConfigInvalid", "experts"),
        ({"model_type": "whisper"}, "ModelUnsupported", "whisper"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(config: dict[str, Any], code: str, names: str):
    with pytest.raises(ModelFactsError, match=names) as caught:
        model_facts(config, None, model_id="m")
    assert caught.value.code == code


def test_an_unknown_architecture_is_sized_from_its_tensors_with_a_warning():
    tensors = {
        "model.embed_tokens.weight": Tensor("BF16", (1000, 64)),
        "lm_head.weight": Tensor("BF16", (1000, 64)),
    }
    for layer in range(4):
        prefix = f"model.layers.{layer}"
        tensors[f"{prefix}.self_attn.q_proj.weight"] = Tensor("BF16", (64, 64))
        tensors[f"{prefix}.self_attn.k_proj.weight"] = Tensor("BF16", (32, 64))
        tensors[f"{prefix}.self_attn.v_proj.weight"] = Tensor("BF16", (32, 64))
        tensors[f"{prefix}.mlp.up_proj.weight"] = Tensor("BF16", (256, 64))
    config = {**LLAMA, "model_type": "novel", "hidden_size": 64, "head_dim": 16, "vocab_size": 1000}
    facts = model_facts(config, None, model_id="novel", tensors=tensors)
    assert facts.weight_bytes == 2 * sum(tensor.elements for tensor in tensors.values())
    assert (facts.layers, facts.kv_heads) == (4, 2)
    assert [warning.code for warning in facts.warnings] == ["UnknownArchitecture"]


def test_an_unknown_architecture_without_tensors_is_read_as_a_plain_transformer_with_a_warning():
    facts = model_facts({**LLAMA, "model_type": "novel"}, None, model_id="novel")
    assert facts.parameters == model_facts(LLAMA, None, model_id="x").parameters
    assert [warning.code for warning in facts.warnings] == ["UnknownArchitecture"]


@pytest.mark.parametrize("split", [Split(2), Split(8), Split(4, 2), Split(1, 4)])
def test_shards_together_hold_at_least_the_whole_model(split: Split):
    llama = model("meta-llama/Llama-3.1-70B-Instruct")
    assert weights_bytes_per_gpu(llama, split) * split.gpus >= llama.weight_bytes


def test_mxfp4_experts_take_more_memory_than_their_files():
    # 64.38 GiB loaded, vllm-project/vllm#33155
    loaded = weights_bytes_per_gpu(model("openai/gpt-oss-120b"), Split()) / GIB
    assert loaded == pytest.approx(64.4, rel=0.02)
