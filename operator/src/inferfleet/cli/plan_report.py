"""What `inferfleet plan` prints: a table for people, JSON and YAML for programs, HTML with a plot."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from math import isfinite
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from inferfleet.cli.plan_plot import Point, plot
from inferfleet.planning import plan_layout
from inferfleet.values import DeploymentSpec, Layout, ModelFacts, Planning, Pool, Rejected

_WIDTH: Final = 140
_GIB: Final = 1 << 30
_FRONTIER_STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """A planning and what it was asked of. `model` is None where it could not be read."""

    model: ModelFacts | None
    planning: Planning
    pools: tuple[Pool, ...]
    spec: DeploymentSpec


def document(answer: Answer) -> dict[str, Any]:
    """Return the stable form that `-o json` and `-o yaml` print (docs/planner.md)."""
    planning = answer.planning
    refusal = planning.refusal
    return {
        "winner": _layout(planning.layout, answer.pools) if planning.layout else None,
        "rejected": [_rejected(rejected, answer.pools) for rejected in planning.rejected],
        "refusal": refusal
        and {"reason": refusal.reason.code, "message": refusal.reason.message, "nearest": refusal.nearest},
    }


def _layout(layout: Layout, pools: Sequence[Pool]) -> dict[str, Any]:
    prediction = layout.prediction
    timed, predicted = prediction.itl_seconds > 0, prediction.tokens_per_second > 0
    gpus = layout.gpus_per_replica
    return {
        "gpu": layout.accelerator,
        "gpus_per_replica": gpus,
        "tensor_parallel": layout.tensor_parallel,
        "pipeline_parallel": layout.pipeline_parallel,
        "data_parallel": layout.data_parallel,
        "expert_parallel": _expert_gpus(layout),
        "replicas": _replicas(layout, pools),
        "quantization": layout.quantization,
        "kv_cache_tokens": layout.kv_cache_tokens or None,
        "weights_bytes_per_gpu": layout.weights_bytes_per_gpu,
        "max_concurrency": prediction.concurrency if predicted else None,
        "predicted": {
            "ttft_seconds": prediction.ttft_seconds if timed and isfinite(prediction.ttft_seconds) else None,
            "itl_seconds": prediction.itl_seconds if timed else None,
            "tokens_per_second_per_gpu": prediction.tokens_per_second / gpus if predicted else None,
            "dollars_per_million_tokens": prediction.dollars_per_million_tokens or None,
        },
        "pool": layout.pool,
        "nodes_per_replica": layout.nodes_per_replica,
        "kv_cache_dtype": layout.kv_cache_dtype,
        "max_model_len": layout.max_model_len or None,
        "max_num_seqs": layout.max_num_seqs or None,
        "max_num_batched_tokens": layout.max_num_batched_tokens or None,
        "draft": layout.draft,
        "draft_tokens": layout.draft_tokens,
        "warnings": [{"reason": warning.code, "detail": warning.message} for warning in layout.warnings],
    }


def _expert_gpus(layout: Layout) -> int:
    """GPUs that experts are spread over, as `--ep` counts them: 1 where they are cut by width."""
    return layout.tensor_parallel * layout.data_parallel if layout.expert_parallel else 1


def _rejected(rejected: Rejected, pools: Sequence[Pool]) -> dict[str, Any]:
    known = _layout(rejected.layout, pools) if rejected.layout else {}
    return {**known, "reason": rejected.reason.code, "detail": rejected.reason.message}


def _replicas(layout: Layout, pools: Sequence[Pool]) -> int:
    """How many replicas the pool's nodes hold, empty and all."""
    pool = next(pool for pool in pools if pool.name == layout.pool)
    nodes = pool.nodes if pool.max_nodes is None else pool.max_nodes
    if layout.nodes_per_replica > 1:
        return nodes // layout.nodes_per_replica
    return nodes * (pool.gpus_per_node // layout.gpus_per_replica)


def as_json(answer: Answer) -> str:
    """Render as JSON."""
    return json.dumps(document(answer), indent=2) + "\n"


def as_yaml(answer: Answer) -> str:
    """Render as YAML."""
    return yaml.safe_dump(document(answer), sort_keys=False, width=110)


_COLUMNS: Final = (
    "GPU",
    "TP",
    "PP",
    "DP",
    "EP",
    "GPUS",
    "KV TOKENS",
    "CONC",
    "TTFT",
    "ITL",
    "TOK/S/GPU",
    "$/MTOK",
)


def _cells(layout: Layout) -> list[str]:
    prediction = layout.prediction
    split = [
        layout.accelerator,
        str(layout.tensor_parallel),
        str(layout.pipeline_parallel),
        str(layout.data_parallel),
        str(_expert_gpus(layout)),
        str(layout.gpus_per_replica),
    ]
    if not prediction.itl_seconds:
        return [*split, *[""] * 6]
    rate = prediction.tokens_per_second / layout.gpus_per_replica
    dollars = prediction.dollars_per_million_tokens
    return [
        *split,
        f"{layout.kv_cache_tokens:,}",
        str(prediction.concurrency) if rate else "",
        f"{prediction.ttft_seconds * 1e3:.0f} ms" if isfinite(prediction.ttft_seconds) else "",
        f"{prediction.itl_seconds * 1e3:.1f} ms",
        f"{rate:.0f}" if rate else "",
        (f"{dollars:.3g}" if dollars else "?") if rate else "",
    ]


def as_table(answer: Answer) -> str:
    """Render for a terminal."""
    stream = io.StringIO()
    console = Console(file=stream, width=_WIDTH, highlight=False)
    layout, refusal = answer.planning.layout, answer.planning.refusal
    if answer.model:
        size = answer.model.weight_bytes / _GIB
        console.print(
            f"{answer.model.model_id}: {answer.model.parameters / 1e9:.1f} B parameters, {size:.1f} GiB, "
            f"{answer.model.architecture}",
            markup=False,
        )
    if refusal:
        console.print(f"REFUSED {refusal.reason}\n{refusal.nearest}", markup=False, soft_wrap=True)
    table = Table(*_COLUMNS, "VERDICT", box=None, pad_edge=False)
    if layout:
        table.add_row(*_cells(layout), "chosen")
    for rejected in answer.planning.rejected:
        cells = _cells(rejected.layout) if rejected.layout else [rejected.label, *[""] * 11]
        table.add_row(*cells, str(rejected.reason))
    if table.row_count:
        console.print(table)
    if layout:
        console.print(
            f"{layout}: max-model-len {layout.max_model_len}, max-num-seqs {layout.max_num_seqs}, "
            f"max-num-batched-tokens {layout.max_num_batched_tokens}, "
            f"{layout.weights_bytes_per_gpu / _GIB:.1f} GiB of weights per GPU",
            markup=False,
        )
        for warning in layout.warnings:
            console.print(f"WARNING {warning}", markup=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def as_html(answer: Answer) -> str:
    """Render as one file that loads nothing: the table, and cost against latency as SVG."""
    layouts = [answer.planning.layout] if answer.planning.layout else []
    layouts += [rejected.layout for rejected in answer.planning.rejected if rejected.layout]
    points = [
        Point(
            each.prediction.itl_seconds * 1e3,
            each.prediction.dollars_per_million_tokens,
            f"{each} on {each.pool}",
            chosen=each is answer.planning.layout,
        )
        for each in layouts
        if each.prediction.dollars_per_million_tokens
    ]
    title = escape(answer.spec.model.id)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font:14px system-ui;margin:2em;max-width:75em}pre{overflow:auto}</style></head>\n"
        f"<body><h1>{title}</h1>\n{plot(points, _frontier(answer))}\n"
        f"<pre>{escape(as_table(answer))}</pre></body></html>\n"
    )


def _frontier(answer: Answer) -> list[Point]:
    """The cheapest layout at each inter-token latency, found by planning again under tighter objectives."""
    start = answer.planning.layout
    if answer.model is None or start is None or not start.prediction.dollars_per_million_tokens:
        return []
    found: dict[tuple[float, float], Point] = {}
    bound = start.prediction.itl_seconds * 2
    for _ in range(_FRONTIER_STEPS):
        objectives = replace(answer.spec.objectives, itl_seconds=bound)
        layout = plan_layout(answer.model, answer.pools, replace(answer.spec, objectives=objectives)).layout
        if layout is None:
            break
        seen = layout.prediction
        point = Point(seen.itl_seconds * 1e3, seen.dollars_per_million_tokens, f"{layout} on {layout.pool}")
        found[point.milliseconds, point.dollars] = point
        bound = min(bound, seen.itl_seconds) * 0.8
    return sorted(found.values(), key=lambda point: point.milliseconds)
