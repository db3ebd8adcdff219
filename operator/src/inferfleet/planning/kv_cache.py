"""How the engine cuts its KV cache into blocks, and what one request takes of them.

All layers that keep the same tokens form groups of one size; every group takes blocks from one pool. A group
that has too few layers is padded, a recurrent state is padded to the size of a block, and a sliding window
holds its window and what is in flight beside it. The shapes follow vLLM 0.32 (v1/core/kv_cache_utils.py and
v1/kv_cache_interface.py); benchmarks/planner/cpu_engine.py holds them against a running engine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Final

from inferfleet.planning.split import Split
from inferfleet.values import LayerGroup, Mixer, ModelFacts

BLOCK_TOKENS: Final = 16
# kinds of layers whose numbers are closer than this are padded to the larger, else cut by the smaller
_PAD_TO_LARGER: Final = 1.5
# the latent's kernels want blocks in multiples of this where a state sets their size
_LATENT_ALIGNMENT: Final = 128


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """Blocks on the fullest GPU. `full_groups` keep every token; `windows` are (tokens kept, groups)."""

    block_tokens: int
    block_bytes: int
    full_groups: int
    windows: tuple[tuple[int, int], ...]
    state_blocks: int

    def blocks(self, tokens: int, in_flight_tokens: int = 0) -> int:
        """Blocks of one request of this length, with so many tokens computed but not yet settled."""
        found = self.full_groups * ceil(tokens / self.block_tokens) + self.state_blocks
        for window, groups in self.windows:
            kept = min(window - 1 + in_flight_tokens, tokens)
            found += groups * (ceil(kept / self.block_tokens) + 1)
        return found

    def request_bytes(self, tokens: int, in_flight_tokens: int = 0) -> int:
        """Bytes of one request of this length."""
        return self.blocks(tokens, in_flight_tokens) * self.block_bytes

    def capacity_tokens(self, space_bytes: int, length: int, in_flight_tokens: int) -> int:
        """What the engine reports as its KV cache size: full-length requests that fit, times their length."""
        if not self.block_bytes:
            return 0
        return space_bytes // self.block_bytes * length // max(1, self.blocks(length, in_flight_tokens))


@lru_cache(maxsize=4096)
def cache_layout(
    model: ModelFacts,
    split: Split,
    element_bytes: int,
    *,
    block_tokens: int = BLOCK_TOKENS,
    prefix_caching: bool = True,
) -> CacheLayout:
    """Lay out the cache of the fullest GPU.

    Layers that keep different sizes per token are counted in units of the smallest: the engine packs them.
    """
    sizes = [size for group in model.layer_groups if (size := token_bytes(group, split, element_bytes))]
    unit = min(sizes, default=0)
    layers: Counter[int | None] = Counter()
    recurrent = state_bytes = copies = 0
    for group in model.layer_groups:
        here = ceil(group.layers / split.pipeline)
        if size := token_bytes(group, split, element_bytes):
            layers[group.window_tokens] += ceil(here * size / unit)
        if group.state_bytes:
            recurrent += here
            state_bytes = max(state_bytes, ceil(group.state_bytes / split.tensor))
            copies = max(copies, group.state_copies if prefix_caching else 1)
    if not unit:
        # without attention the engine caches no prefixes
        return CacheLayout(block_tokens, recurrent * state_bytes, 0, (), min(copies, 1))
    if recurrent:
        latent = any(group.mixer is Mixer.LATENT for group in model.layer_groups)
        step = _LATENT_ALIGNMENT if latent else block_tokens
        block_tokens = max(block_tokens, step * ceil(state_bytes / (step * unit)))
    size = _group_size([*layers.values(), *([recurrent] if recurrent else [])])
    return CacheLayout(
        block_tokens=block_tokens,
        block_bytes=size * unit * block_tokens,
        full_groups=ceil(layers[None] / size),
        windows=tuple((window, ceil(count / size)) for window, count in layers.items() if window is not None),
        state_blocks=copies * ceil(recurrent / size),
    )


def _group_size(counts: list[int]) -> int:
    """Layers in each group: as many as the rarest kind has, or as the commonest where they are close."""
    least, most = min(counts), max(counts)
    return most if most < least * _PAD_TO_LARGER else least


def token_bytes(group: LayerGroup, split: Split, element_bytes: int) -> int:
    """What one layer of the group keeps per token on each GPU."""
    if group.mixer is Mixer.LATENT:
        return group.latent_dim * element_bytes + group.index_bytes
    # ceil(heads/TP): past TP = KV heads the heads replicate
    heads = ceil(group.kv_heads / split.tensor)
    return heads * (group.key_dim + group.value_dim) * element_bytes


@lru_cache(maxsize=4096)
def kv_bytes_per_token(model: ModelFacts, split: Split, element_bytes: int) -> int:
    """KV that one more token takes on the fullest GPU, in the layers that keep every token."""
    return sum(
        ceil(group.layers / split.pipeline) * token_bytes(group, split, element_bytes)
        for group in model.layer_groups
        if group.window_tokens is None
    )
