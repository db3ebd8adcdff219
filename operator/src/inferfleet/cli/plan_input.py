"""What `inferfleet plan` reads: GPUs as typed, pools of a cluster, and a model from wherever it is."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from inferfleet.planning import (
    ModelFactsError,
    Tensor,
    catalogue_facts,
    default_price,
    find_accelerator,
    model_facts,
    unknown_accelerator,
)
from inferfleet.planning.accelerators import ACCELERATORS, GIB
from inferfleet.planning.prices import SOURCE
from inferfleet.values import Accelerator, CapacityType, ModelFacts, ModelSpec, Offer, Pool

_GPU: Final = re.compile(r"^(?P<name>[^:=]+)(:(?P<count>\d+)([xX](?P<nodes>\d+))?)?$")
_MEMORY: Final = re.compile(r"(\d+)\s*GI?B", re.IGNORECASE)
INDEX: Final = "model.safetensors.index.json"
_LARGEST_HEADER_BYTES: Final = 100 << 20


def parse_gpu(text: str, prices: Mapping[str, float]) -> Pool:
    """Read `NAME:COUNT[xNODES]` into a pool of that many nodes with that many GPUs each.

    Raises:
        click.UsageError: It has another form, or a GPU that no table knows and whose name states no memory.
    """
    match = _GPU.match(text.strip())
    if match is None:
        raise click.UsageError(f"--gpu {text!r}: write NAME, NAME:COUNT or NAME:COUNTxNODES, as H100:8x2")
    count, nodes = int(match["count"] or 1), int(match["nodes"] or 1)
    if not count or not nodes:
        raise click.UsageError(f"--gpu {text!r}: counts start at 1")
    gpu = _accelerator(match["name"])
    name = f"{gpu.name.lower()}-{count}x{nodes}"
    stated = prices.get(gpu.name)
    price = default_price(gpu.name, count, CapacityType.ON_DEMAND) if stated is None else stated
    offer = Offer(
        pool=name,
        capacity_type=CapacityType.ON_DEMAND,
        zone="",
        price_dollars_per_gpu_hour=price,
        price_source=SOURCE if stated is None else "--price",
        nodes=nodes,
        gpus=count * nodes,
        free_gpus=count * nodes,
    )
    return Pool(name, gpu, count, nodes, (), (offer,), max_nodes=nodes)


def _accelerator(name: str) -> Accelerator:
    memory = _MEMORY.search(name)
    found = find_accelerator(name)
    if found is None and memory:
        found = unknown_accelerator(name, int(memory[1]) * GIB)
    if found is None:
        known = ", ".join(gpu.name for gpu in ACCELERATORS.values())
        raise click.UsageError(
            f"unknown GPU {name!r}: known are {known}; another one can state its memory, as MyGPU-48GB:4"
        )
    return found


def parse_price(text: str) -> tuple[str, float]:
    """Read `NAME=DOLLARS` per GPU and hour."""
    name, _, price = text.partition("=")
    try:
        dollars = float(price)
    except ValueError:
        dollars = -1.0
    if dollars < 0:
        raise click.UsageError(f"--price {text!r}: write NAME=DOLLARS, as H100=2.5")
    return _accelerator(name).name, dollars


def read_model(model: str) -> ModelFacts:
    """Return the facts of a folder, a `config.json`, a recorded hub id, or any other hub id from the hub.

    Raises:
        ModelFactsError: It is none of these, or makes no sense.
    """
    path = Path(model)
    if path.exists():
        return _from_files(path, model)
    recorded = catalogue_facts(model)
    if recorded:
        return recorded
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelFactsError("ModelNotFound", f"{model} is neither a path that exists nor a hub id")
    return asyncio.run(_from_hub(model))


async def _from_hub(model: str) -> ModelFacts:
    from inferfleet.cluster.hub import ModelProblem, endpoint, read_from_hub  # noqa: PLC0415 - only when asked

    try:
        async with aiohttp.ClientSession(trust_env=True) as session:
            files = await read_from_hub(session, endpoint(), ModelSpec(model), None)
    except ModelProblem as problem:
        text = f"{model} is not recorded, and {problem.reason.message}"
        raise ModelFactsError(problem.reason.code, text) from problem
    return model_facts(files.config, files.weight_bytes, model_id=model)


def _from_files(path: Path, model: str) -> ModelFacts:
    folder = path if path.is_dir() else path.parent
    config = _json(path / "config.json" if path.is_dir() else path)
    quantization = folder / "hf_quant_config.json"
    if quantization.is_file() and "quantization_config" not in config:
        section = _json(quantization)
        config = {**config, "quantization_config": {"quant_method": "modelopt", **section}}
    if not path.is_dir():
        return model_facts(config, None, model_id=model)
    return model_facts(config, _weight_bytes(folder), model_id=model, tensors=_tensors(folder))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFactsError("ModelNotFound", f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise ModelFactsError("ModelConfigInvalid", f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelFactsError("ModelConfigInvalid", f"{path} holds no object")
    return content


def _weight_bytes(folder: Path) -> int | None:
    """Bytes of all tensors by the index, else the size of the files, else None."""
    index = folder / INDEX
    if index.is_file():
        total = _json(index).get("metadata", {}).get("total_size")
        if isinstance(total, int | float):
            return int(total)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) or None


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Read the headers of all safetensors files: an 8-byte length, then JSON."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            prefix = stream.read(8)
            (length,) = struct.unpack("<Q", prefix) if len(prefix) == 8 else (0,)  # noqa: PLR2004 - the format
            if not 0 < length <= _LARGEST_HEADER_BYTES:
                raise ModelFactsError("ModelFilesInvalid", f"{file.name} is no safetensors file")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                found[name] = Tensor(str(entry["dtype"]), tuple(entry["shape"]))
    return found


def cluster_pools(kubeconfig: str | None) -> tuple[Pool, ...]:
    """Discover the pools of a cluster as the operator does, GPUPools included."""
    from inferfleet.cli.cluster import ask  # noqa: PLC0415 - only when a cluster is asked for
    from inferfleet.cli.pools import find_pools  # noqa: PLC0415

    return ask(kubeconfig, None, find_pools)
