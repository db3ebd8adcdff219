"""`inferfleet plan`: its forms, its exit codes, and where it finds models."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner, Result
from fake_api import fake_api

from inferfleet.cli import main

L8, L70 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
WINNER = {
    "gpu", "gpus_per_replica", "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel",
    "replicas", "quantization", "kv_cache_tokens", "weights_bytes_per_gpu", "max_concurrency", "predicted",
}  # fmt: skip
PREDICTED = {"ttft_seconds", "itl_seconds", "tokens_per_second_per_gpu", "dollars_per_million_tokens"}
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "vocab_size": 320,
    "max_position_embeddings": 4096,
}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["plan", *words], catch_exceptions=False)


def answer(*words: str, code: int = 0) -> dict[str, Any]:
    result = run(*words, "-o", "json")
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert set(document) == {"winner", "rejected", "refusal"}
    return document


def test_json_has_the_documented_form():
    document = answer(
        L70,
        "--gpu",
        "H100:8",
        "--gpu",
        "L40S:8",
        *["--ttft", "1s", "--itl", "40ms", "--isl", "4000", "--osl", "1000"],
    )
    winner = document["winner"]
    assert set(winner) >= WINNER
    assert set(winner["predicted"]) == PREDICTED
    assert winner["gpus_per_replica"] == (
        winner["tensor_parallel"] * winner["pipeline_parallel"] * winner["data_parallel"]
    )
    assert winner["replicas"] == 8 // winner["gpus_per_replica"]
    assert winner["predicted"]["itl_seconds"] <= 0.040
    assert winner["predicted"]["ttft_seconds"] <= 1.0
    assert document["refusal"] is None
    assert 1 <= len(document["rejected"]) <= 5
    for rejected in document["rejected"]:
        assert set(rejected) >= WINNER | {"reason", "detail"}


def test_a_refusal_exits_with_one_in_every_form():
    document = answer(L70, "--gpu", "L4:1", code=1)
    assert document["winner"] is None
    assert set(document["refusal"]) == {"reason", "message", "nearest"}
    assert document["rejected"][0]["reason"] == "OutOfMemory"
    for form in ("table", "yaml", "html"):
        assert run(L70, "--gpu", "L4:1", "-o", form).exit_code == 1


def test_yaml_says_what_json_says():
    assert yaml.safe_load(run(L8, "--gpu", "H100", "-o", "yaml").stdout) == answer(L8, "--gpu", "H100")


def test_html_is_one_file_with_a_plot_and_loads_nothing():
    page = run(L8, "--gpu", "H100:8", "-o", "html").stdout
    plot = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])  # noqa: S314 - our own output
    assert len(plot.findall(".//{http://www.w3.org/2000/svg}circle")) > 3
    assert not [word for word in ("<script", "src=", "href=") if word in page]


def test_a_table_names_the_winner_and_the_limits_to_set():
    text = run(L8, "--gpu", "H100:8").stdout
    assert "chosen" in text
    assert "max-num-seqs" in text


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("l40s:8", "L40S"),
        ("A100-80GB:8", "A100-80GB"),
        ("a100-80:8X2", "A100-80GB"),
        ("NVIDIA-A100-SXM4-40GB:8", "A100-40GB"),
        ("h100", "H100"),
        ("NVIDIA-H100-80GB-HBM3:8", "H100"),
        ("h200:8", "H200"),
        ("B200:8", "B200"),
        ("nvidia-rtx-pro-6000-blackwell-server-edition:2", "RTX-PRO-6000"),
        ("A100-SXM4-80GB-MIG-3g.40gb:2", "A100-80GB-MIG-3g.40gb"),
        ("MyGPU-48GB:2", "MyGPU-48GB"),
    ],
)
def test_gpus_are_named_as_people_and_labels_name_them(gpu: str, name: str):
    assert answer(L8, "--gpu", gpu)["winner"]["gpu"] == name


@pytest.mark.parametrize("words", [("--dp", "4", "--ep", "4"), ("--tp", "4", "--ep", "1")])
def test_the_table_counts_gpus_as_json_and_the_options_do(words: tuple[str, ...]):
    asked = ("Qwen/Qwen3-30B-A3B", "--gpu", "H100:8", *words)
    winner = answer(*asked)["winner"]
    header, row = (line.split() for line in run(*asked).stdout.splitlines()[1:3])
    shown = dict(zip(header, row, strict=False))
    named = {
        "TP": "tensor_parallel",
        "PP": "pipeline_parallel",
        "DP": "data_parallel",
        "EP": "expert_parallel",
    }
    assert {column: shown[column] for column in named} == {
        column: str(winner[field]) for column, field in named.items()
    }
    assert shown["GPUS"] == str(winner["gpus_per_replica"])


def test_two_nodes_hold_what_one_cannot():
    winner = answer("meta-llama/Llama-3.1-405B-Instruct", "--gpu", "H100:8x2")["winner"]
    assert (winner["tensor_parallel"], winner["pipeline_parallel"], winner["replicas"]) == (8, 2, 1)
    answer("meta-llama/Llama-3.1-405B-Instruct", "--gpu", "H100:8", code=1)


def test_overrides_are_kept_or_refused():
    winner = answer(L70, "--gpu", "H100:8", "--tp", "2", "--pp", "2", "--kv-dtype", "fp8")["winner"]
    assert (winner["tensor_parallel"], winner["pipeline_parallel"]) == (2, 2)
    assert winner["kv_cache_dtype"] == "fp8"
    assert answer(L70, "--gpu", "H100:8", "--quantization", "fp8")["winner"]["quantization"] == "fp8"
    mixture = answer("Qwen/Qwen3-30B-A3B", "--gpu", "H100:8", "--dp", "2", "--ep", "4")["winner"]
    assert (mixture["data_parallel"], mixture["tensor_parallel"], mixture["expert_parallel"]) == (2, 2, 4)
    refusal = answer(L70, "--gpu", "H100:8", "--tp", "3", code=1)["refusal"]
    assert refusal["reason"] == "HeadsNotDivisible"


def test_a_stricter_percentile_costs_no_less():
    def cost(percentile: str) -> float:
        words = (L8, "--gpu", "H100:8", "--itl", "40ms", "--ttft", "1s", "--percentile", percentile)
        return float(answer(*words)["winner"]["predicted"]["dollars_per_million_tokens"])

    assert cost("50") <= cost("90") * 1.01 <= cost("99") * 1.02


def test_a_price_of_ones_own_counts():
    one = answer(L8, "--gpu", "H100:8", "--price", "h100=2")["winner"]["predicted"]
    two = answer(L8, "--gpu", "H100:8", "--price", "h100=4")["winner"]["predicted"]
    assert two["dollars_per_million_tokens"] == pytest.approx(2 * one["dollars_per_million_tokens"])


def folder(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def test_a_model_is_a_folder_or_its_config_file(tmp_path: Path):
    here = folder(tmp_path / "model", CONFIG)
    for place in (here, here / "config.json"):
        assert answer(str(place), "--gpu", "L4")["winner"]["gpus_per_replica"] == 1


def test_the_index_of_a_folder_says_how_large_it_is(tmp_path: Path):
    here = folder(tmp_path / "model", CONFIG)
    index = {"metadata": {"total_size": 30 << 30}, "weight_map": {}}
    (here / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert answer(str(here), "--gpu", "L4", code=1)["refusal"]["reason"] == "OutOfMemory"


def test_an_unknown_architecture_is_sized_from_its_safetensors_headers(tmp_path: Path):
    here = folder(tmp_path / "model", {**CONFIG, "model_type": "novel", "architectures": ["Novel"]})
    header = {"model.embed_tokens.weight": {"dtype": "BF16", "shape": [320, 128], "data_offsets": [0, 81920]}}
    for layer in range(4):
        name = f"model.layers.{layer}.self_attn.k_proj.weight"
        header[name] = {"dtype": "BF16", "shape": [64, 128], "data_offsets": [0, 16384]}
    text = json.dumps(header).encode()
    (here / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    warnings = answer(str(here), "--gpu", "L4")["winner"]["warnings"]
    assert [warning["reason"] for warning in warnings] == ["UnknownArchitecture"]


def test_nvfp4_is_read_from_the_file_beside_the_config(tmp_path: Path):
    here = folder(tmp_path / "model", CONFIG)
    section = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}
    (here / "hf_quant_config.json").write_text(json.dumps(section), encoding="utf-8")
    assert answer(str(here), "--gpu", "B200")["winner"]["quantization"] == "modelopt_fp4"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "ModelConfigInvalid"), ("[]", "ModelConfigInvalid"), ("{}", "ModelConfigInvalid")],
)
def test_a_config_that_cannot_be_read_is_a_refusal(tmp_path: Path, text: str, reason: str):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert answer(str(tmp_path), "--gpu", "L4", code=1)["refusal"]["reason"] == reason


def test_a_model_that_is_nowhere_is_a_refusal(tmp_path: Path):
    assert answer(str(tmp_path / "no"), "--gpu", "L4", code=1)["refusal"]["reason"] == "ModelNotFound"


@pytest.mark.parametrize(
    "words",
    [
        (L8,),
        (L8, "--gpu", "Z9"),
        (L8, "--gpu", "H100:0"),
        (L8, "--gpu", "H100:8:8"),
        (L8, "--gpu", "H100", "--itl", "fast"),
        (L8, "--gpu", "H100", "--itl", "-1s"),
        (L8, "--gpu", "H100", "--price", "H100"),
        (L8, "--gpu", "H100", "--gpu", "h100"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_an_error_of_use(words: tuple[str, ...]):
    assert run(*words).exit_code == 2


async def test_the_pools_of_a_cluster_are_planned_on(tmp_path: Path):
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
        "nvidia.com/gpu.count": "8",
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "a", "labels": labels},
        "status": {
            "allocatable": {"nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    async with fake_api() as api:
        await api.put("/api/v1/nodes", node)
        prices = {"prices.yaml": "asOf: 2026-11-01\nperGpuHour: {H100: {onDemand: 1000}}"}
        meta = {"name": "inferfleet-prices", "namespace": "inferfleet-system"}
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": prices}
        await api.put("/api/v1/configmaps", config_map)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        document = await asyncio.to_thread(answer, L70, "--kubeconfig", str(path))
    assert (document["winner"]["pool"], document["winner"]["replicas"]) == (
        "h100-x8",
        8 // document["winner"]["gpus_per_replica"],
    )
    assert document["winner"]["predicted"]["dollars_per_million_tokens"] > 100, (
        "at the price that the cluster states"
    )
