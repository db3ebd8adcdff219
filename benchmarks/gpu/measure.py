"""Measure the constants of the speed model on whatever GPU is here.

`python benchmarks/gpu/measure.py [--json FILE]` needs PyTorch and this checkout, nothing installed: the
planner is plain Python and is imported from the source tree. It measures matrix rates by shape and type,
memory bandwidth, and whole decode steps and prefill chunks of Llama-8B- and 70B-shaped layers with random
weights under CUDA graphs, and prints each beside what the planner predicts for it. `--device cpu --small`
runs the same code without a GPU, to try the script itself.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator" / "src"))

from inferfleet.planning.accelerators import find_accelerator, unknown_accelerator
from inferfleet.planning.catalogue import catalogue_facts
from inferfleet.planning.efficiency import efficiency_of
from inferfleet.planning.speed import StepModel, step_model
from inferfleet.planning.split import Split
from inferfleet.values import Accelerator, ModelFacts

WARM_UPS, REPEATS = 5, 20


@dataclass(frozen=True)
class Line:
    """One measurement; `predicted` is in the same unit, 0 where the planner has no figure."""

    what: str
    unit: str
    measured: float
    predicted: float = 0.0


@dataclass(frozen=True)
class Shapes:
    """One GPU's shard of a dense model's layer."""

    hidden: int
    heads: int
    kv_heads: int
    dim: int
    intermediate: int

    @classmethod
    def of(cls, model: ModelFacts, tensor: int) -> Shapes:
        """The shard under tensor parallelism."""
        return cls(
            model.hidden_size,
            model.attention_heads // tensor,
            max(1, model.kv_heads // tensor),
            model.head_dim,
            model.intermediate_size // tensor,
        )


class Layer:
    """A Llama layer with random weights: grouped-query attention over a cache, and a gated MLP."""

    def __init__(self, shapes: Shapes, device: str) -> None:
        self.shapes = shapes
        s = shapes

        def weight(rows: int, columns: int) -> torch.Tensor:
            return torch.randn(rows, columns, device=device, dtype=torch.bfloat16) * 0.02

        self.qkv = weight((s.heads + 2 * s.kv_heads) * s.dim, s.hidden)
        self.out = weight(s.hidden, s.heads * s.dim)
        self.up = weight(2 * s.intermediate, s.hidden)
        self.down = weight(s.hidden, s.intermediate)

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        s = self.shapes
        widths = [s.heads * s.dim, s.kv_heads * s.dim, s.kv_heads * s.dim]
        normed = functional.rms_norm(x, (s.hidden,))
        return functional.linear(normed, self.qkv).split(widths, dim=-1)

    def _finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        x = x + functional.linear(attended, self.out)
        gate, up = functional.linear(functional.rms_norm(x, (self.shapes.hidden,)), self.up).chunk(2, dim=-1)
        return x + functional.linear(functional.silu(gate) * up, self.down)

    def decode(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """One token of every sequence, over caches of shape (batch, KV heads, context, dim)."""
        s, batch = self.shapes, x.shape[0]
        query, key, value = self._project(x)
        keys[:, :, -1] = key.view(batch, s.kv_heads, s.dim)
        values[:, :, -1] = value.view(batch, s.kv_heads, s.dim)
        # the heads of a group stand in the query's place, so that the cache is read once for all of them
        grouped = query.view(batch, s.kv_heads, s.heads // s.kv_heads, s.dim)
        attended = functional.scaled_dot_product_attention(grouped, keys, values)
        return self._finish(x, attended.reshape(batch, s.heads * s.dim))

    def prefill(self, x: torch.Tensor) -> torch.Tensor:
        """A chunk of one prompt, from its start."""
        s, tokens = self.shapes, x.shape[0]
        query, key, value = self._project(x)
        parts = [
            part.view(1, tokens, heads, s.dim).transpose(1, 2)
            for part, heads in ((query, s.heads), (key, s.kv_heads), (value, s.kv_heads))
        ]
        attended = functional.scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
        return self._finish(x, attended.transpose(1, 2).reshape(tokens, s.heads * s.dim))


def seconds(work: Callable[[], object], device: str, *, graph: bool = True) -> float:
    """Median time of `work`, replayed from a CUDA graph where there is a GPU."""
    for _ in range(WARM_UPS):
        work()
    if device == "cpu":
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    torch.cuda.synchronize()
    run = work
    if graph:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            work()
        run = captured.replay
    times = []
    for _ in range(REPEATS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def bandwidth(device: str, gpu: Accelerator, gib: float) -> Line:
    """Bytes per second of a copy, read and write counted, far larger than any cache."""
    source = torch.empty(int(gib * 2**30), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rate = 2 * source.numel() / seconds(lambda: target.copy_(source), device)
    return Line("copy", "GB/s", rate / 1e9, gpu.memory_bytes_per_second * efficiency_of(gpu).bandwidth / 1e9)


def matrices(device: str, gpu: Accelerator, tokens: tuple[int, ...], shapes: Shapes) -> list[Line]:
    """Rates of the widest product of a layer, in bfloat16 and, where PyTorch can, FP8."""
    return [line for m in tokens for line in _products(device, gpu, m, shapes)]


def _products(device: str, gpu: Accelerator, m: int, shapes: Shapes) -> Iterator[Line]:
    able, k, n = efficiency_of(gpu), shapes.hidden, 2 * shapes.intermediate
    operations = 2 * m * n * k / 1e12
    a = torch.randn(m, k, device=device, dtype=torch.bfloat16)
    b = torch.randn(n, k, device=device, dtype=torch.bfloat16)
    rate = operations / seconds(lambda: functional.linear(a, b), device)
    yield Line(f"bf16 {m} x {k} x {n}", "TFLOPS", rate, gpu.bf16_flops * able.matrix / 1e12)
    if device == "cpu" or gpu.compute_capability < (8, 9):
        return
    one = torch.ones((), device=device)
    a8, b8 = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()

    def multiply() -> object:
        return torch._scaled_mm(a8, b8, one, one, out_dtype=torch.bfloat16)  # noqa: SLF001 - its only door

    rate = operations / seconds(multiply, device)
    yield Line(f"fp8 {m} x {k} x {n}", "TFLOPS", rate, gpu.fp8_flops * able.matrix_8bit / 1e12)


def layers_only(step: StepModel) -> StepModel:
    """The part of a step that is measured here: no head, no collectives, no engine."""
    return replace(
        step,
        head_seconds=0.0,
        head_seconds_per_token=0.0,
        exchange_seconds=0.0,
        exchange_seconds_per_token=0.0,
        overhead_seconds=0.0,
        overhead_seconds_per_sequence=0.0,
    )


def steps(device: str, gpu: Accelerator, model: ModelFacts, tensor: int, *, small: bool) -> list[Line]:
    """Decode steps and prefill chunks of all layers, from a few distinct layers repeated in turn.

    Several layers, so that weights and caches come from memory and not from the L2 cache.
    """
    shapes = Shapes.of(model, tensor)
    distinct = 2 if small else 8
    stack = [Layer(shapes, device) for _ in range(distinct)]
    able = efficiency_of(gpu)
    step = layers_only(
        step_model(model, gpu, Split(tensor), gpus_per_node=max(tensor, 1), kv_cache_dtype="auto")
    )
    gaps = model.layers * able.layer_seconds
    found = []
    name = f"{model.model_id.rpartition('/')[2]} TP{tensor}"
    for batch, context in ((1, 128),) if small else ((1, 1024), (16, 1024), (64, 2048), (128, 2048)):
        x = torch.randn(batch, shapes.hidden, device=device, dtype=torch.bfloat16)
        size = (batch, shapes.kv_heads, context, shapes.dim)
        caches = [
            tuple(torch.randn(size, device=device, dtype=torch.bfloat16) for _ in range(2))
            for _ in range(distinct)
        ]

        def decode(x: torch.Tensor = x, caches: list[tuple[torch.Tensor, ...]] = caches) -> torch.Tensor:
            for layer, (keys, values) in zip(stack, caches, strict=True):
                x = layer.decode(x, keys, values)
            return x

        measured = seconds(decode, device) * model.layers / distinct
        predicted = step.stage_seconds(batch, 0, context, 0) + gaps
        found.append(Line(f"{name} decode {batch} x {context}", "ms", measured * 1e3, predicted * 1e3))
        del caches
    for tokens in (16,) if small else (512, 2048, 8192):
        x = torch.randn(tokens, shapes.hidden, device=device, dtype=torch.bfloat16)

        def prefill(x: torch.Tensor = x) -> torch.Tensor:
            for layer in stack:
                x = layer.prefill(x)
            return x

        measured = seconds(prefill, device) * model.layers / distinct
        predicted = step.stage_seconds(0, tokens, 0, tokens / 2) + gaps
        found.append(Line(f"{name} prefill {tokens}", "ms", measured * 1e3, predicted * 1e3))
    return found


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU here: nothing is measured (--device cpu --small tries the script itself)")
    device = options.device
    product = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    memory = 8 << 30 if device == "cpu" else torch.cuda.get_device_properties(0).total_memory
    gpu = find_accelerator(product, memory) or unknown_accelerator(product, memory)
    small = catalogue_facts("Qwen/Qwen3-0.6B")
    eight, seventy = (catalogue_facts(f"meta-llama/Llama-3.1-{size}-Instruct") for size in ("8B", "70B"))
    if not (small and eight and seventy):
        sys.exit("the catalogue misses a model")
    with torch.inference_mode():
        if options.small:
            lines = [bandwidth(device, gpu, 0.05), *matrices(device, gpu, (16,), Shapes.of(small, 1))]
            lines += steps(device, gpu, small, 1, small=True)
        else:
            lines = [bandwidth(device, gpu, 2.0)]
            lines += matrices(device, gpu, (16, 64, 256, 512, 2048, 8192), Shapes.of(eight, 1))
            lines += steps(device, gpu, eight, 1, small=False)
            lines += steps(device, gpu, seventy, 8, small=False)
    now = dt.datetime.now(dt.UTC).date().isoformat()
    print(f"{product}, read as {gpu.name}, PyTorch {torch.__version__}, {now}")
    for line in lines:
        off = f"{line.predicted / line.measured - 1:7.1%}" if line.predicted else ""
        print(f"{line.what:40} {line.measured:10.3f} {line.unit:7} predicted {line.predicted:10.3f} {off}")
    if options.json:
        document = {
            "device": product,
            "accelerator": gpu.name,
            "date": now,
            "torch": torch.__version__,
            "lines": [asdict(line) for line in lines],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
