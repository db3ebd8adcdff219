"""What is served, and by which engine, as a user writes it."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field

from inferfleet.api.resource import Part, Rule, validated

# The measured release: `--shutdown-timeout` needs 0.18 or later.
DEFAULT_ENGINE_IMAGE: Final = "vllm/vllm-openai:v0.32.0"

MODEL_ID: Final = (
    r"^([A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?"
    r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9._-]+)*/?"
    r"|(/[A-Za-z0-9._-]+)+/?)$"
)
MODEL_ID_HELP: Final = (
    "model.id must be a hub id (organisation/name), pvc://claim/path, or an absolute path in the image"
)
STEP_UP: Final = re.compile(r"(^|/)\.\.(/|$)")


def _check_model_id(text: str) -> str:
    if not re.fullmatch(MODEL_ID, text) or STEP_UP.search(text):
        raise ValueError(MODEL_ID_HELP)
    return text


class SecretKey(Part):
    """A key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "token"
    """The key in it."""


class Model(Part):
    """Which model to serve. A change is a rollout, not a new object."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                f"self.id.matches(r'{MODEL_ID}') && !self.id.matches(r'(^|/)[.][.](/|$)')",
                MODEL_ID_HELP,
                ".id",
            )
        )
    )

    id: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_check_model_id)]
    """A hub id (`organisation/name`), `pvc://claim/path`, or an absolute path in the engine's image."""
    context_length: Annotated[int | None, Field(ge=1, le=100_000_000)] = None
    """Longest sequence (prompt and answer) in tokens. Default: what the model's config allows."""
    revision: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    """Branch, tag or commit of a hub model. Default: the hub's main branch."""
    served_name: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    """The `model` that clients send. Default: the hub id, or the last part of a path."""
    token_secret: SecretKey | None = None
    """Secret with the hub token that the engine needs for a gated model."""

    @property
    def name_for_clients(self) -> str:
        """The name under which the engine serves the model."""
        if self.served_name:
            return self.served_name
        if self.id.startswith(("pvc://", "/")):
            return self.id.rstrip("/").rsplit("/", 1)[-1]
        return self.id


class Parallelism(Part):
    """Overrides of the planner's choice."""

    tensor: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Tensor parallel size (TP)."""
    pipeline: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Pipeline parallel size (PP)."""
    data: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Data parallel size (DP) inside one replica; for mixture-of-experts models."""
    expert: bool | None = None
    """Expert parallelism; for mixture-of-experts models."""


class Speculative(Part):
    """Speculative decoding with a draft model, used where the planner finds it cheaper."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    """Hub id of the draft; one that the planner has recorded."""
    tokens: Annotated[int, Field(ge=1, le=16)] = 3
    """Tokens that it guesses ahead."""
    acceptance: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """How often a guess is right, 0 to 1: measure it on your own traffic."""


class Engine(Part):
    """The inference engine: a stock vLLM image and its limits."""

    image: Annotated[str, Field(min_length=1, max_length=512)] = DEFAULT_ENGINE_IMAGE
    """Any image with vLLM's OpenAI server; it stays as it is, the worker is added when the pod starts."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=128)] = []
    """Arguments for the engine, after those of the plan, so these win."""
    quantization: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    """Quantisation method of the weights. Default: the planner's choice."""
    kv_cache_dtype: Annotated[str | None, Field(min_length=1, max_length=32)] = None
    """Data type of the KV cache. Default: the planner's choice."""
    max_num_seqs: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Most sequences that one engine runs at once. Default: the planner's choice."""
    max_num_batched_tokens: Annotated[int | None, Field(ge=1, le=100_000_000)] = None
    """Most tokens in one engine step. Default: the planner's choice."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a GPU's memory that the engine may take."""
    speculative: Speculative | None = None
    """A draft model to decode with."""
