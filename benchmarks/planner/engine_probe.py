"""Start vLLM on a folder that holds only a config, and print what it says of its KV cache, as JSON.

Run by the interpreter of an environment with vLLM for CPU: `python engine_probe.py FOLDER LENGTH BATCHED`.
Weights are random and no tokenizer is needed: nothing is asked of the model.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module


def main() -> None:
    """Start the engine in this process and print one line."""
    folder, length, batched = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    engine = import_module("vllm").LLM(
        model=folder,
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=length,
        max_num_batched_tokens=batched,
        max_num_seqs=8,
    )
    config = engine.llm_engine.vllm_config.cache_config
    said = {
        "tokens": config.kv_cache_size_tokens,
        "concurrency": config.kv_cache_max_concurrency,
        "blocks": config.num_gpu_blocks,
        "block_tokens": config.block_size,
        "batches": engine.llm_engine.vllm_config.max_concurrent_batches,
    }
    sys.stdout.write(f"PROBE {json.dumps(said)}\n")


if __name__ == "__main__":
    main()
