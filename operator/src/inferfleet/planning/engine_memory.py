"""What an engine of a given version takes beside weights and cache.

Up to 0.16 sampling (38 bytes) and the runtime over several GPUs (1.0 GiB) are medians over the rows marked as
fitted in benchmarks/planner/engine_starts.csv (starts of real engines, with their sources). From 0.17 on they
are what llm-d-planner 0.3.3 carries as measured on H100 (16 bytes, 2.1 GiB). Graphs are read off the same
fitted rows. `python benchmarks/planner/memory.py` prints fitted, held out and later rows apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from inferfleet.planning.accelerators import GIB, MIB


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """`sampler_bytes` per sequence and vocabulary entry; `runtime_*` is what PyTorch does not see.

    `graphs_inside` says that the room for CUDA graphs comes out of the utilisation limit, as it does since
    the engine measures graphs before it sizes its cache. `batches_in_flight` are the steps whose tokens a
    sliding window still holds.
    """

    sampler_bytes: int
    runtime_alone_bytes: int
    runtime_several_bytes: int
    graphs_inside: bool
    batches_in_flight: int


# the first version with the behaviour, newest first. Sampling: sorting the vocabulary (float32 logits, sorted
# values, 64-bit indices, sums and masks) gave way to selection in place. Several GPUs: symmetric memory and
# all-reduce workspaces came with it.
_VERSIONS: Final = (
    ((0, 20), EngineMemory(16, int(0.2 * GIB), int(2.1 * GIB), graphs_inside=True, batches_in_flight=2)),
    ((0, 17), EngineMemory(16, int(0.2 * GIB), int(2.1 * GIB), graphs_inside=False, batches_in_flight=2)),
    ((0, 0), EngineMemory(38, int(0.2 * GIB), int(1.0 * GIB), graphs_inside=False, batches_in_flight=1)),
)
NEWEST: Final = _VERSIONS[0][1]
_TAG: Final = re.compile(r":v?(\d+)\.(\d+)(?:[.\-+_]|$)")

_GRAPH_BASE_BYTES: Final = int(0.3 * GIB)
_GRAPH_BYTES_PER_LAYER: Final = 8 * MIB
# the engine captures batches of up to 512 in steps; a limit on sequences below this captures fewer
_GRAPH_SEQUENCES: Final = 256


@lru_cache(maxsize=64)
def engine_memory(image: str) -> EngineMemory:
    """Return the habits of the engine in an image, by its tag; of the newest where the tag tells none."""
    found = _TAG.search(image)
    if not found:
        return NEWEST
    version = int(found[1]), int(found[2])
    return next(habits for first, habits in _VERSIONS if version >= first)


def graph_bytes(layers: int, sequences: int) -> int:
    """Memory of captured CUDA graphs."""
    share = min(1.0, sequences / _GRAPH_SEQUENCES)
    return int((_GRAPH_BASE_BYTES + layers * _GRAPH_BYTES_PER_LAYER) * share)
