"""Speculative decoding: a small draft guesses tokens ahead, and the model checks them all in one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from inferfleet.planning.catalogue import catalogue_facts
from inferfleet.planning.kv_cache import CacheLayout, kv_bytes_per_token
from inferfleet.planning.memory import kv_element_bytes, weights_bytes_per_gpu
from inferfleet.planning.speed import StepModel
from inferfleet.planning.split import Split
from inferfleet.values import DeploymentSpec, ModelFacts, Reason


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that guesses `tokens` ahead, each right with probability `acceptance`."""

    model: ModelFacts
    tokens: int
    acceptance: float

    @property
    def expected_tokens(self) -> float:
        """Tokens that one step yields: (1 - a^(k+1)) / (1 - a) (Leviathan et al. 2023, equation 1)."""
        return (1 - self.acceptance ** (self.tokens + 1)) / (1 - self.acceptance)

    def weights_bytes(self, split: Split) -> int:
        """Its weights on each GPU: it is sharded like the model that it drafts for."""
        return weights_bytes_per_gpu(self.model, Split(split.tensor))

    def beside(self, cache: CacheLayout, split: Split, kv_cache_dtype: str) -> CacheLayout:
        """The cache with the draft's own keys and values in every block."""
        element = kv_element_bytes(self.model, kv_cache_dtype)
        each = kv_bytes_per_token(self.model, Split(split.tensor), element) * cache.block_tokens
        return replace(cache, block_bytes=cache.block_bytes + ceil(each / max(1, cache.full_groups)))

    def speeds(self, step: StepModel, draft_step: StepModel) -> StepModel:
        """The step of the model that checks every guess, after as many steps of the draft."""
        return replace(step, verified=self.tokens + 1, yields=self.expected_tokens, draft=draft_step)


def find_draft(spec: DeploymentSpec, facts: ModelFacts | None) -> Draft | Reason | None:
    """Return the draft that the spec names, with its `facts` or the recorded ones; or why there is none."""
    asked = spec.engine.speculative
    if asked is None:
        return None
    found = facts or catalogue_facts(asked.model)
    if found is None:
        text = f"the draft {asked.model} is not a recorded model: planned without it"
        return Reason("DraftNotRecorded", text)
    return Draft(found, asked.tokens, asked.acceptance)
