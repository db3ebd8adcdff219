"""What a model folder holds, for planning: its config and the size of its weights, no weight being read.

The header of a safetensors file is its first eight bytes (little-endian length) and as much JSON
(https://huggingface.co/docs/safetensors): name, dtype, shape and offsets of each tensor.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

MOST_TENSORS = 2000
MOST_HEADER_BYTES = 100 * 2**20
"""The format's own bound."""

INDEX = "model.safetensors.index.json"


class InspectionError(Exception):
    """The folder holds no model, or one that cannot be read."""


def inspect(folder: Path) -> dict[str, Any]:
    """The report on `folder`; raises InspectionError.

    `weights_bytes` is None where there are no safetensors. Above MOST_TENSORS `tensors` is left out, and
    `dtype_bytes` must do.
    """
    config_path = folder / "config.json"
    try:
        config = json.loads(config_path.read_bytes())
    except FileNotFoundError as error:
        raise InspectionError(f"no config.json in {folder}") from error
    except (OSError, ValueError) as error:
        raise InspectionError(f"{config_path} cannot be read: {error}") from error
    report: dict[str, Any] = {"config": config, "weights_bytes": _indexed_bytes(folder)}
    files = weight_files(folder)
    if not files:
        return report
    tensors = {name: tensor for file in files for name, tensor in read_header(file).items()}
    dtype_bytes: Counter[str] = Counter()
    for dtype, _, size in tensors.values():
        dtype_bytes[dtype] += size
    report |= {"weights_bytes": sum(dtype_bytes.values()), "dtype_bytes": dict(dtype_bytes)}
    if len(tensors) <= MOST_TENSORS:
        report["tensors"] = tensors
    return report


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the model once: some repositories carry a second copy, `consolidated`."""
    index = folder / INDEX
    if index.exists():
        named = {folder / name for name in _read_index(index).get("weight_map", {}).values()}
        return sorted(path for path in named if path.exists())
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if not file.name.startswith("consolidated")] or files


def read_header(file: Path) -> dict[str, tuple[str, list[int], int]]:
    """(dtype, shape, bytes) of each tensor; raises InspectionError for what is no safetensors file."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MOST_HEADER_BYTES:
                raise InspectionError(f"{file} has no safetensors header")
            header = json.loads(stream.read(length))
        return {
            name: (entry["dtype"], entry["shape"], entry["data_offsets"][1] - entry["data_offsets"][0])
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError) as error:
        raise InspectionError(f"{file} has no safetensors header: {error}") from error


def _indexed_bytes(folder: Path) -> int | None:
    """The total that the index states, for a folder whose weights are not there (yet)."""
    index = folder / INDEX
    if not index.exists():
        return None
    total = _read_index(index).get("metadata", {}).get("total_size")
    return int(total) if isinstance(total, (int, float)) else None


def _read_index(index: Path) -> dict[str, Any]:
    try:
        document = json.loads(index.read_bytes())
    except (OSError, ValueError) as error:
        raise InspectionError(f"{index} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InspectionError(f"{index} is not an object")
    return document
