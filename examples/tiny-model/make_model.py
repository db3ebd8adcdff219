"""Make a Llama of about one million parameters, so that a real engine can be tried without a download.

The weights are random: the answers mean nothing, but every path of the engine is the real one (config,
tokenizer, chat template, safetensors, KV cache, streaming). Runs inside any image that has vLLM, because it
needs only what vLLM brings: transformers, tokenizers and torch.

    python3 make_model.py DIRECTORY [--context-length TOKENS] [--seed SEED]

The same arguments and library versions give the same files, byte for byte. A directory that already holds a
finished model is left alone, so the script can be an init container that runs again.
"""

# ruff: noqa: INP001 (a script, not a package)
from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

FINISHED = "config.json"
"""The file whose presence says that a directory holds a whole model (the files appear together)."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")


def write_tokenizer(directory: Path, context_length: int) -> int:
    """Write a byte-level tokenizer without merges, and return the size of its vocabulary.

    One token per byte: any text can be written and read, a prompt's length in tokens is its length in bytes,
    and there is nothing to train.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 (slow imports)
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    specials = (PAD, END, *ROLES)
    symbols = (*specials, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(directory)
    return len(symbols)


def write_weights(directory: Path, vocabulary: int, context_length: int, seed: int) -> int:
    """Write config and random bfloat16 weights, and return the number of parameters."""
    import torch  # noqa: PLC0415 (slow imports)
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=-(-vocabulary // 64) * 64,  # divisible by every tensor parallel size that 4 heads allow
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_length,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=False,
        dtype=torch.bfloat16,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory, safe_serialization=True)
    return sum(parameter.numel() for parameter in model.parameters())


def make(directory: Path, context_length: int, seed: int) -> int:
    """Make the model beside its place and move it there, so that a reader never sees half of it."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".making-") as making:
        vocabulary = write_tokenizer(Path(making), context_length)
        parameters = write_weights(Path(making), vocabulary, context_length, seed)
        for made in sorted(Path(making).iterdir(), key=lambda path: path.name == FINISHED):
            made.chmod(0o644)  # the engine may run as another user
            shutil.move(made, directory / made.name)
    return parameters


def main() -> int:
    """Make the model that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make a Llama of about one million random parameters.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--context-length", type=int, default=4096, metavar="TOKENS")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.directory / FINISHED).exists():
        print(f"{arguments.directory} already holds a model", file=sys.stderr)  # noqa: T201 (its output)
        return 0
    parameters = make(arguments.directory, arguments.context_length, arguments.seed)
    print(f"{arguments.directory}: {parameters:,} parameters", file=sys.stderr)  # noqa: T201 (its output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
