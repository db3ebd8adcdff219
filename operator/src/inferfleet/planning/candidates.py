"""Enumerate the ways to run one replica on a pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from inferfleet.planning.split import Split
from inferfleet.values import ModelFacts, ParallelismSpec, Pool

_POWERS: Final = (1, 2, 4, 8, 16)
_NODES: Final = (2, 3, 4, 6, 8, 16)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pool and a split. The split may be impossible: the checks say so, with a reason."""

    pool: Pool
    split: Split

    @property
    def nodes(self) -> int:
        """Nodes that one replica spans."""
        return -(-self.split.gpus // self.pool.gpus_per_node)

    def __str__(self) -> str:
        spread = f" over {self.nodes} nodes" if self.nodes > 1 else ""
        return f"{self.pool.accelerator.name} {self.split}{spread} on {self.pool.name}"


def within_node(model: ModelFacts, pool: Pool, asked: ParallelismSpec) -> Iterator[Candidate]:
    """Yield every split that one node can hold, or the ones the user asked for, possible or not."""
    size = pool.gpus_per_node
    widths = sorted({n for n in range(1, size + 1) if size % n == 0} | {n for n in _POWERS if n <= size})
    tensors = (asked.tensor,) if asked.tensor else widths
    pipelines = (asked.pipeline,) if asked.pipeline else tuple(n for n in _POWERS if n <= size)
    ranks = _ranks(model, size, asked)
    forced = Split(asked.tensor or 1, asked.pipeline or 1, asked.data or 1).gpus > size
    for tensor in tensors:
        for pipeline in pipelines:
            for data in ranks:
                if tensor * pipeline * data > size and not forced:
                    continue
                # ranks that also pipeline idle on each other's uneven steps: only where the user insists
                if data > 1 and pipeline > 1 and not (asked.data and asked.pipeline):
                    continue
                for expert in _expert_options(model, tensor * data, asked):
                    yield Candidate(pool, Split(tensor, pipeline, data, expert))


def _ranks(model: ModelFacts, size: int, asked: ParallelismSpec) -> tuple[int, ...]:
    if asked.data:
        return (asked.data,)
    return tuple(n for n in _POWERS if n <= size) if model.experts else (1,)


def _expert_options(model: ModelFacts, gpus: int, asked: ParallelismSpec) -> tuple[bool, ...]:
    if asked.expert is not None:
        return (asked.expert,)
    return (False, True) if model.experts and gpus > 1 else (False,)


def across_nodes(model: ModelFacts, pool: Pool, asked: ParallelismSpec) -> Iterator[Candidate]:
    """Yield splits with a pipeline over nodes: tensor parallelism stays inside, each node is filled.

    Meant for what no single node of the pool can do: a lost node costs the whole replica. Where
    NVLink joins the whole node it is one stage; more stages than nodes are for nodes without it.
    """
    size = pool.gpus_per_node
    most = _NODES[-1] if pool.max_nodes is None else pool.max_nodes
    widths = tuple(n for n in _POWERS if size % n == 0)
    if pool.accelerator.nvlink_domain_gpus >= size and model.attention_heads % size == 0:
        widths = (size,)
    for tensor in (asked.tensor,) if asked.tensor else widths:
        for nodes in (n for n in _NODES if n <= most):
            pipeline = nodes * size // tensor
            if asked.pipeline not in {None, pipeline} or (asked.data or 1) > 1 or size % tensor:
                continue
            for expert in _expert_options(model, tensor, asked):
                yield Candidate(pool, Split(tensor, pipeline, 1, expert))
