"""What is asked of the planner, and what a candidate has left for the KV cache under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inferfleet.planning.candidates import Candidate
from inferfleet.planning.drafting import Draft
from inferfleet.planning.engine_memory import EngineMemory, engine_memory
from inferfleet.planning.kv_cache import CacheLayout, cache_layout
from inferfleet.planning.memory import kv_element_bytes, kv_space_bytes
from inferfleet.planning.split import Split
from inferfleet.values import DeploymentSpec, ModelFacts, Reason, Workload

LEAST_BATCHED_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a model as it will be served, the spec, and the workload cut to the context."""

    model: ModelFacts
    spec: DeploymentSpec
    workload: Workload
    context_tokens: int | None
    draft: Draft | None = None

    @property
    def element_bytes(self) -> int:
        """Bytes of one KV element."""
        return kv_element_bytes(self.model, self.kv_cache_dtype)

    @property
    def kv_cache_dtype(self) -> str:
        """The KV type, as the engine's flag takes it."""
        return self.spec.engine.kv_cache_dtype or "auto"

    @property
    def engine(self) -> EngineMemory:
        """The memory habits of the engine's version."""
        return engine_memory(self.spec.engine.image)

    def cache(self, split: Split) -> CacheLayout:
        """How the cache of one GPU is laid out."""
        cache = cache_layout(self.model, split, self.element_bytes)
        return self.draft.beside(cache, split, self.kv_cache_dtype) if self.draft else cache

    def in_flight_tokens(self, split: Split, budget: int) -> int:
        """Tokens that are computed but not yet settled: a sliding window holds them beside its window."""
        return budget * (self.engine.batches_in_flight + split.pipeline - 1)


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a candidate failed, and by how much: smaller is nearer among misses of the same check."""

    reason: Reason
    distance: float = 1.0


def space_bytes(candidate: Candidate, question: Question, budget: int, sequences: int) -> int:
    """KV space per GPU under these limits; negative by how much is missing.

    A draft brings its weights, and checking its guesses takes the working memory of sampling twice.
    """
    drafting = question.draft
    space = kv_space_bytes(
        question.model,
        candidate.pool.accelerator,
        candidate.split,
        question.engine,
        utilization=question.spec.engine.gpu_memory_utilization,
        batched_tokens=budget,
        sequences=sequences * (2 if drafting else 1),
    )
    return space - (drafting.weights_bytes(candidate.split) if drafting else 0)


def least_space(candidate: Candidate, question: Question) -> int:
    """KV space per GPU under the smallest limits that may be set (the user's where stated)."""
    engine = question.spec.engine
    budget = engine.max_num_batched_tokens or LEAST_BATCHED_TOKENS
    return space_bytes(candidate, question, budget, engine.max_num_seqs or 1)
