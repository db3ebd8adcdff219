"""What `inferfleet simulate` reads: a deployment with its pools, a trace or a load, starts, zones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import durationpy
import yaml
from pydantic import ValidationError

from inferfleet.api import GPUPool, InferenceDeployment
from inferfleet.api.resource import SpecError
from inferfleet.cli.plan_input import parse_gpu, read_model
from inferfleet.planning import ModelFactsError
from inferfleet.planning.accelerators import ACCELERATORS
from inferfleet.planning.prices import default_price
from inferfleet.simulate.arrivals import Trace, TraceError, length_seconds
from inferfleet.simulate.generate import Generated, Sizes, constant, diurnal, spike
from inferfleet.simulate.nodes import ColdStart, SimulatedPool
from inferfleet.simulate.scenario import Source
from inferfleet.values import CapacityType, DeploymentSpec, ModelFacts, Pool, PoolSpec, Workload

_HOUR: Final = 3600.0
_SHAPES: Final = {
    "constant": ("rate", "for"),
    "diurnal": ("low", "high", "for", "period"),
    "spike": ("base", "peak", "at", "lasts", "for"),
}
"""Shapes of load, with what each takes: rates are requests per second, the rest durations."""

_RATES: Final = frozenset({"rate", "low", "high", "base", "peak"})


@dataclass(frozen=True, slots=True)
class Read:
    """A deployment, its model, and where its nodes come from."""

    spec: DeploymentSpec
    model: ModelFacts
    pools: tuple[SimulatedPool, ...]


def read_deployment(path: Path, gpus: tuple[str, ...]) -> Read:
    """Read one InferenceDeployment and any GPUPools of a YAML file.

    A GPUPool grows up to its maxNodes, as under a node autoscaler; `gpus` add pools of the default prices.
    Where neither says what there is, whatever can be rented is.
    """
    specs: list[DeploymentSpec] = []
    pools: list[SimulatedPool] = [_typed_pool(text) for text in gpus]
    try:
        for content in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            kind = content.get("kind") if isinstance(content, dict) else None
            if kind == "InferenceDeployment":
                specs.append(InferenceDeployment.model_validate(content).to_values())
            elif kind == "GPUPool":
                pools.append(SimulatedPool(GPUPool.model_validate(content).to_values()))
        if len(specs) != 1:
            raise click.ClickException(f"{path} holds {len(specs)} InferenceDeployments, one is needed")
        return Read(specs[0], read_model(specs[0].model.id), tuple(pools) or _all_pools())
    except (ValidationError, SpecError, yaml.YAMLError, ModelFactsError) as error:
        raise click.ClickException(f"{path}: {error}") from error


def _all_pools() -> tuple[SimulatedPool, ...]:
    """What runs the default image and has a default price, in nodes of one and of eight GPUs."""
    sold = [
        gpu.name
        for gpu in ACCELERATORS.values()
        if gpu.vendor == "nvidia" and default_price(gpu.name, 1, CapacityType.ON_DEMAND)
    ]
    return tuple(_typed_pool(f"{name}:{count}") for name in sold for count in (1, 8))


def _typed_pool(text: str) -> SimulatedPool:
    """`NAME:COUNT` grows without bound; `NAME:COUNTxNODES` are so many nodes that stand already."""
    pool: Pool = parse_gpu(text, {})
    standing = "x" in text.rpartition(":")[2].lower()
    spec = PoolSpec(
        name=pool.name,
        accelerator=pool.accelerator,
        gpus_per_node=pool.gpus_per_node,
        max_nodes=pool.nodes if standing else None,
        capacity_types=(CapacityType.ON_DEMAND,),
        price_dollars_per_gpu_hour={CapacityType.ON_DEMAND: pool.offers[0].price_dollars_per_gpu_hour},
    )
    return SimulatedPool(spec, standing=pool.nodes if standing else 0, grows=not standing)


def read_load(
    trace: Path | None,
    load: str | None,
    workload: Workload,
    burstiness: float,
    part: tuple[float, float | None, float],
) -> tuple[Source, float]:
    """Make the source, and say how long it runs; `part` is start, duration and scale."""
    start, duration, scale = part
    sizes = Sizes(workload.prompt_tokens, workload.output_tokens)
    if (trace is None) is (load is None):
        raise click.UsageError("give either --trace or --load")
    if trace is not None:
        try:
            seconds = duration or max(0.0, length_seconds(trace) - start)
            return Trace(trace, start, seconds, scale, sizes, burstiness), seconds
        except TraceError as error:
            raise click.ClickException(str(error)) from error
    curve = _curve(load or "")
    made = tuple((at, rate * scale) for at, rate in curve)
    return Generated(made, sizes, burstiness), min(duration or curve[-1][0], curve[-1][0])


def _curve(text: str) -> tuple[tuple[float, float], ...]:
    shape, _, rest = text.partition(":")
    if shape not in _SHAPES:
        raise click.UsageError(f"--load {text!r}: shapes are {_shapes()}")
    given = _pairs("--load", rest)
    unknown = set(given) - set(_SHAPES[shape])
    if unknown:
        raise click.UsageError(f"--load {text!r}: no {', '.join(sorted(unknown))}; shapes are {_shapes()}")
    take = {key: _number(key, value) for key, value in given.items()}
    seconds = take.get("for", _HOUR)
    try:
        if shape == "constant":
            return constant(take["rate"], seconds)
        if shape == "diurnal":
            return diurnal(take["low"], take["high"], seconds, take.get("period", 24 * _HOUR))
        return spike(take["base"], take["peak"], take["at"], take.get("lasts", seconds), seconds)
    except KeyError as missing:
        raise click.UsageError(f"--load {text!r}: {missing} is missing; shapes are {_shapes()}") from missing


def _shapes() -> str:
    return "; ".join(f"{name}:{','.join(f'{key}=' for key in keys)}" for name, keys in _SHAPES.items())


def read_cold_start(text: str) -> ColdStart:
    """Read `provision=90s,pull=60s,load=45s,schedule=2s,sigma=0.25`; what is not named keeps its default."""
    names = {name: f"{name}_seconds" for name in ("provision", "schedule", "pull", "load")} | {
        "sigma": "sigma"
    }
    changes: dict[str, Any] = {}
    for key, value in _pairs("--cold-start", text).items():
        if key not in names:
            raise click.UsageError(f"--cold-start: no {key}; known are {', '.join(names)}")
        changes[names[key]] = float(value) if key == "sigma" else _seconds(value)
    return replace(ColdStart(), **changes)


def read_zones(texts: tuple[str, ...]) -> Mapping[str, float]:
    """Read `ZONE=SHARE`, the share of time in which a zone has spot capacity."""
    zones = {}
    for text in texts:
        zone, _, share = text.partition("=")
        try:
            zones[zone] = float(share)
        except ValueError:
            zones[zone] = -1.0
        if not 0 < zones[zone] < 1:
            raise click.UsageError(f"--spot {text!r}: write ZONE=SHARE with a share between 0 and 1")
    return zones


def _pairs(option: str, text: str) -> dict[str, str]:
    pairs = {}
    for part in filter(None, text.split(",")):
        key, found, value = part.partition("=")
        if not found:
            raise click.UsageError(f"{option} {text!r}: write KEY=VALUE,KEY=VALUE")
        pairs[key.strip()] = value.strip()
    return pairs


def _number(key: str, value: str) -> float:
    try:
        return float(value) if key in _RATES else _seconds(value)
    except ValueError as error:
        raise click.UsageError(f"--load: {key}={value!r} is no number") from error


def _seconds(text: str) -> float:
    try:
        return float(durationpy.from_str(text).total_seconds())
    except durationpy.DurationError as error:
        raise click.UsageError(f"{text!r} is not a duration such as 90s or 10m") from error
