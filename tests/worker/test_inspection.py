"""A model folder is told by its headers."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from inferfleet_worker.inspection import MOST_TENSORS, InspectionError, inspect

Tensors = dict[str, tuple[str, list[int]]]
BYTES = {"BF16": 2, "F32": 4, "F8_E4M3": 1}
CONFIG = {"model_type": "llama", "hidden_size": 8}


def write_weights(path: Path, tensors: Tensors) -> None:
    """A real safetensors file whose data is a hole: reading it would be seen in the time, not the result."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_the_weights_are_summed_over_all_files_and_dtypes(model: Path) -> None:
    write_weights(model / "model-1.safetensors", {"a": ("BF16", [4, 8]), "b": ("F32", [2])})
    write_weights(model / "model-2.safetensors", {"c": ("F8_E4M3", [10**10])})
    assert inspect(model) == {
        "config": CONFIG,
        "weights_bytes": 64 + 8 + 10**10,
        "dtype_bytes": {"BF16": 64, "F32": 8, "F8_E4M3": 10**10},
        "tensors": {"a": ("BF16", [4, 8], 64), "b": ("F32", [2], 8), "c": ("F8_E4M3", [10**10], 10**10)},
    }


def test_a_second_copy_in_one_file_is_not_counted(model: Path) -> None:
    write_weights(model / "model.safetensors", {"a": ("BF16", [4])})
    write_weights(model / "consolidated.safetensors", {"tok": ("BF16", [4])})
    assert inspect(model)["weights_bytes"] == 8


def test_the_index_names_the_files(model: Path) -> None:
    index = {"metadata": {"total_size": 8}, "weight_map": {"a": "model-1.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert inspect(model)["weights_bytes"] == 8, "the weights may not be there yet"
    write_weights(model / "model-1.safetensors", {"a": ("BF16", [4])})
    write_weights(model / "draft.safetensors", {"b": ("BF16", [4])})
    assert inspect(model)["tensors"] == {"a": ("BF16", [4], 8)}


def test_too_many_tensors_are_told_by_dtype_only(model: Path) -> None:
    write_weights(model / "m.safetensors", {f"layer.{n}": ("BF16", [1]) for n in range(MOST_TENSORS + 1)})
    report = inspect(model)
    assert "tensors" not in report
    assert report["dtype_bytes"] == {"BF16": 2 * (MOST_TENSORS + 1)}


def test_a_folder_without_weights_has_none(model: Path) -> None:
    assert inspect(model) == {"config": CONFIG, "weights_bytes": None}


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01", struct.pack("<Q", 2**60), struct.pack("<Q", 4) + b"{{{{", struct.pack("<Q", 2) + b"[]"],
)
def test_a_file_that_is_no_safetensors_file_is_named(model: Path, content: bytes) -> None:
    (model / "broken.safetensors").write_bytes(content)
    with pytest.raises(InspectionError, match=r"broken\.safetensors has no safetensors header"):
        inspect(model)


def test_the_packed_command_prints_one_object(worker_pyz: Path, model: Path) -> None:
    write_weights(model / "model.safetensors", {"a": ("BF16", [4])})
    printed = subprocess.run([sys.executable, worker_pyz, "inspect", model], capture_output=True, check=True)
    assert json.loads(printed.stdout)["tensors"] == {"a": ["BF16", [4], 8]}


@pytest.mark.parametrize(("config", "complaint"), [(None, "no config.json in"), ("{", "cannot be read")])
def test_a_folder_without_a_config_is_refused_with_code_2(
    worker_pyz: Path, tmp_path: Path, config: str | None, complaint: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    printed = subprocess.run(
        [sys.executable, worker_pyz, "inspect", tmp_path], capture_output=True, check=False
    )
    assert printed.returncode == 2
    assert complaint in json.loads(printed.stdout)["error"]
