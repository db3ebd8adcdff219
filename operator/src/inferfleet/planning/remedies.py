"""What would make an impossible deployment possible: other GPUs, a smaller format, looser objectives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, inf
from typing import Any, Final

from inferfleet.planning.accelerators import ACCELERATORS
from inferfleet.planning.prices import SOURCE, default_price
from inferfleet.planning.quantization import requantise
from inferfleet.planning.question import Miss
from inferfleet.planning.search import search
from inferfleet.planning.split import Split
from inferfleet.values import (
    CapacityType,
    DeploymentSpec,
    ModelFacts,
    Offer,
    ParallelismSpec,
    Pool,
    Reason,
)

_MOST: Final = 3
TRIED: Final = "looser limits, smaller formats, and up to 2 nodes of 8 x B200"
_OVERRIDES: Final = ("tensor", "pipeline", "data", "expert_gpus")
# what the clouds rent out, in the order of their size; one GPU and a full node
_RENTED: Final = ("L4", "L40S", "A100-80GB", "H100", "H200", "B200")


def remedies(model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, miss: Miss) -> tuple[str, ...]:
    """Return up to three changes, each tried by planning again, the smallest change first."""
    found: list[str] = []
    for text, changed_model, changed_pools, changed_spec in _changes(model, pools, spec, miss):
        if len(found) == _MOST:
            break
        if search(changed_model, changed_pools, changed_spec).outcomes:
            found.append(text)
    return tuple(found)


def _changes(
    model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, miss: Miss
) -> Iterator[tuple[str, ModelFacts, Sequence[Pool], DeploymentSpec]]:
    yield from _other_values(model, pools, spec)
    if spec.parallelism != ParallelismSpec():
        yield "no parallelism override", model, pools, replace(spec, parallelism=ParallelismSpec())
    if spec.engine.max_num_batched_tokens or spec.engine.max_num_seqs:
        free = replace(spec.engine, max_num_batched_tokens=None, max_num_seqs=None)
        yield "no engine limits", model, pools, replace(spec, engine=free)
    if spec.engine.kv_cache_dtype:
        plain = replace(spec.engine, kv_cache_dtype=None)
        yield "no engine.kvCacheDtype", model, pools, replace(spec, engine=plain)
    yield from _looser(model, pools, spec, miss)
    if spec.model.context_length:
        shorter = replace(spec.model, context_length=None)
        yield "a shorter model.contextLength", model, pools, replace(spec, model=shorter)
    small = requantise(model, "fp8")
    if not model.quantization and not isinstance(small, Reason):
        yield "engine.quantization fp8", small, pools, spec
    if spec.capacity.max_dollars_per_gpu_hour is not None:
        unlimited = replace(spec.capacity, max_dollars_per_gpu_hour=None)
        yield "no capacity.maxPricePerGpuHour", model, pools, replace(spec, capacity=unlimited)
    if spec.capacity.zones:
        yield "no capacity.zones", model, pools, replace(spec, capacity=replace(spec.capacity, zones=()))
    anywhere = replace(spec, capacity=replace(spec.capacity, pools=()))
    for gpus, name in ((gpus, name) for gpus in (1, 2, 4, 8) for name in _RENTED):
        yield f"{gpus} x {name}", model, (_rented(name, gpus),), anywhere
    for name in _RENTED[-3:]:
        yield f"2 nodes of 8 x {name}", model, (replace(_rented(name, 8), max_nodes=2),), anywhere


def _other_values(
    model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec
) -> Iterator[tuple[str, ModelFacts, Sequence[Pool], DeploymentSpec]]:
    """For each override, the values next to it that are possible with the others as they are."""
    for name in _OVERRIDES:
        asked = getattr(spec.parallelism, name)
        if asked is None:
            continue
        freed = _override(spec, name, None)
        values = {_value(outcome.candidate.split, name) for outcome in search(model, pools, freed).outcomes}
        below = max((value for value in values if value < asked), default=None)
        above = min((value for value in values if value > asked), default=None)
        for value in (below, above):
            if value is not None:
                text = f"{name.removesuffix('_gpus')} parallelism {value}"
                yield text, model, pools, _override(spec, name, value)


def _override(spec: DeploymentSpec, name: str, value: int | None) -> DeploymentSpec:
    change: dict[str, Any] = {name: value}
    return replace(spec, parallelism=replace(spec.parallelism, **change))


def _value(split: Split, name: str) -> int:
    """What a split has of one of the overrides."""
    if name == "expert_gpus":
        return split.tensor * split.data if split.expert else 1
    return int(getattr(split, name))


def _looser(
    model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, miss: Miss
) -> Iterator[tuple[str, ModelFacts, Sequence[Pool], DeploymentSpec]]:
    """The objective that the nearest candidate reaches, with 5 % to spare, in milliseconds."""
    wanted = spec.objectives
    if miss.distance == inf:
        return
    if miss.reason.code == "InterTokenLatencyMissed" and wanted.itl_seconds:
        reached = ceil(wanted.itl_seconds * miss.distance * 1050) / 1000
        looser = replace(wanted, itl_seconds=reached)
        text = f"interTokenLatency {reached * 1e3:.0f}ms"
    elif miss.reason.code == "TimeToFirstTokenMissed" and wanted.ttft_seconds:
        reached = ceil(wanted.ttft_seconds * miss.distance * 1050) / 1000
        looser = replace(wanted, ttft_seconds=reached)
        text = f"timeToFirstToken {reached * 1e3:.0f}ms"
    else:
        return
    yield text, model, pools, replace(spec, objectives=looser)


def _rented(name: str, gpus: int) -> Pool:
    """A pool as a cloud would rent it, for trying."""
    price = default_price(name, gpus, CapacityType.ON_DEMAND)
    return Pool(
        name=f"{name.lower()}-x{gpus}",
        accelerator=ACCELERATORS[name.upper()],
        gpus_per_node=gpus,
        nodes=0,
        requirements=(),
        offers=(Offer(name, CapacityType.ON_DEMAND, "", price, SOURCE),),
        max_nodes=1,
    )
