"""Hold the layout of the KV cache against a running engine: `python benchmarks/planner/cpu_engine.py PYTHON`.

PYTHON is the interpreter of an environment with vLLM for CPU. Tiny models of many architectures, a config
with random weights each, are started one after another; the KV tokens that the engine reports stand beside
ours. On a CPU the space is given, not left over: this checks bytes per token, blocks, groups, padding,
windows, latents and states, and says nothing of how weights and working memory shrink it on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inferfleet.planning import model_facts
from inferfleet.planning.accelerators import GIB
from inferfleet.planning.kv_cache import cache_layout
from inferfleet.planning.memory import kv_element_bytes
from inferfleet.planning.split import Split

PATIENCE_SECONDS = 900
GIB_OF_CACHE = 1
LENGTH, BATCHED = 2048, 512
# CPU kernels want larger blocks than GPUs, and latents the small ones
BLOCK_TOKENS, LATENT_BLOCK_TOKENS = 128, 16
PROBE = Path(__file__).with_name("engine_probe.py")
WITHIN = 0.01

SETTINGS = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": str(GIB_OF_CACHE),
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}

Config = dict[str, Any]
BASE: Config = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 320,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}


def shape(architecture: str, model_type: str, **fields: Any) -> Config:
    """A tiny config of one architecture."""
    return {**BASE, "architectures": [architecture], "model_type": model_type, **fields}


EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "norm_topk_prob": True}
LATENT = {
    "kv_lora_rank": 64, "q_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "num_key_value_heads": 4,
}  # fmt: skip
SHAPES: Mapping[str, Config] = {
    "Llama, grouped queries": shape("LlamaForCausalLM", "llama"),
    "Llama, one KV head, 5 layers": shape(
        "LlamaForCausalLM", "llama", num_key_value_heads=1, num_hidden_layers=5
    ),
    "Qwen3, wide heads": shape("Qwen3ForCausalLM", "qwen3", head_dim=64),
    "Qwen3, mixture of experts": shape("Qwen3MoeForCausalLM", "qwen3_moe", **EXPERTS),
    "Gemma 3, five windows to one": shape(
        "Gemma3ForCausalLM", "gemma3_text", num_hidden_layers=13, sliding_window=512,
        layer_types=["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(13)],
        query_pre_attn_scalar=32, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
    ),
    "gpt-oss, every second window": shape(
        "GptOssForCausalLM", "gpt_oss", num_hidden_layers=6, sliding_window=128, head_dim=64,
        layer_types=["sliding_attention", "full_attention"] * 3, num_local_experts=4, num_experts_per_tok=2,
    ),
    "Mistral, window everywhere": shape(
        "MistralForCausalLM", "mistral", sliding_window=512, max_position_embeddings=4096
    ),
    "DeepSeek-V2, latent": shape(
        "DeepseekV2ForCausalLM", "deepseek_v2", **LATENT, n_routed_experts=8, num_experts_per_tok=2,
        moe_intermediate_size=64, n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1,
        moe_layer_freq=1, routed_scaling_factor=1.0, scoring_func="softmax", topk_method="greedy",
        norm_topk_prob=False,
    ),
    "Qwen3-Next, linear attention": shape(
        "Qwen3NextForCausalLM", "qwen3_next", num_hidden_layers=8, **EXPERTS, head_dim=64,
        full_attention_interval=4, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=32,
        linear_value_head_dim=32, linear_conv_kernel_dim=4, shared_expert_intermediate_size=64,
        decoder_sparse_step=1, partial_rotary_factor=0.25,
    ),
    "Nemotron-H, Mamba-2": shape(
        "NemotronHForCausalLM", "nemotron_h", num_hidden_layers=8, hybrid_override_pattern="M-M-M*M-",
        mamba_num_heads=8, mamba_head_dim=32, ssm_state_size=64, n_groups=2, conv_kernel=4, expand=2,
        mlp_hidden_act="relu2", layer_norm_epsilon=1e-5, chunk_size=128, use_conv_bias=True,
    ),
    # float32, as CPU kernels keep the state whatever the model is
    "Mamba-2, no attention": shape(
        "Mamba2ForCausalLM", "mamba2", num_heads=8, head_dim=32, state_size=64, n_groups=2, conv_kernel=4,
        expand=2, mamba_ssm_cache_dtype="float32", layer_norm_epsilon=1e-5, chunk_size=128,
        num_attention_heads=0, num_key_value_heads=0,
    ),
}  # fmt: skip


def ask(python: Path, config: Config) -> Mapping[str, Any] | str:
    """What the engine says of its cache, or the last error of one that does not start."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        try:
            done = subprocess.run(
                [str(python), str(PROBE), folder, str(LENGTH), str(BATCHED)],
                env={**os.environ, **SETTINGS},
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"did not start in {PATIENCE_SECONDS} s"
    for line in done.stdout.splitlines():
        if line.startswith("PROBE "):
            found: Mapping[str, Any] = json.loads(line.removeprefix("PROBE "))
            return found
    errors = [line for line in done.stderr.splitlines() if "Error" in line]
    return errors[-1].strip() if errors else f"ended with {done.returncode}"


def estimate(config: Config, batches: int) -> int:
    """KV tokens that the planner counts on in the space given."""
    model = model_facts(config, None, model_id="probe")
    block = LATENT_BLOCK_TOKENS if config.get("kv_lora_rank") else BLOCK_TOKENS
    layout = cache_layout(model, Split(), kv_element_bytes(model, "auto"), block_tokens=block)
    return layout.capacity_tokens(GIB_OF_CACHE * GIB, LENGTH, BATCHED * batches)


def main() -> None:
    """Start each shape once, and print the engine's KV tokens beside ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    good = ran = 0
    for name, config in SHAPES.items():
        if asked.only not in name:
            continue
        said = ask(asked.python, config)
        if isinstance(said, str):
            print(f"{name:32} not run: {said[:150]}")
            continue
        ours, theirs = estimate(config, said["batches"]), said["tokens"]
        ran += 1
        good += abs(ours / theirs - 1) <= WITHIN
        print(
            f"{name:32} engine {theirs:12,} tokens ({said['blocks']} blocks of {said['block_tokens']}), "
            f"ours {ours:12,}, ours / engine {ours / theirs:.4f}"
        )
        sys.stdout.flush()
    print(f"\nwithin 1 %: {good} of {ran}")


if __name__ == "__main__":
    main()
