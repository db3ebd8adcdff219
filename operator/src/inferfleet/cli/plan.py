"""`inferfleet plan`: the planner on a command line, without a cluster unless one is asked for."""

from __future__ import annotations

import sys
from typing import Final

import click
import durationpy

from inferfleet.cli.plan_input import (
    cluster_pools,
    parse_gpu,
    parse_price,
    read_model,
)
from inferfleet.cli.plan_report import Answer, as_html, as_json, as_table, as_yaml
from inferfleet.planning import ModelFactsError, plan_layout
from inferfleet.values import (
    DeploymentSpec,
    EngineSpec,
    ModelSpec,
    Objectives,
    ParallelismSpec,
    Planning,
    Pool,
    Reason,
    Refusal,
    SpeculativeSpec,
    Workload,
)

REFUSED: Final = 1
_RENDER: Final = {"table": as_table, "json": as_json, "yaml": as_yaml, "html": as_html}


class Duration(click.ParamType[float]):
    """A duration such as `40ms` or `1.5s`, in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse what Go and Kubernetes write."""
        if isinstance(value, float):
            return value
        try:
            seconds = float(durationpy.from_str(str(value)).total_seconds())
        except (durationpy.DurationError, ValueError):
            self.fail(f"{value!r} is not a duration such as 40ms or 1.5s", param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r} is not above zero", param, ctx)
        return seconds


_DURATION: Final = Duration()
_COUNT: Final = click.IntRange(min=1)


@click.command()
@click.argument("model")
@click.option(
    "--gpu", "gpus", multiple=True, metavar="NAME:COUNT[xNODES]", help="A pool, as H100:8 or H100:8x2."
)
@click.option("--price", "prices", multiple=True, metavar="NAME=DOLLARS", help="Dollars per GPU and hour.")
@click.option("--from-cluster", is_flag=True, help="Take the pools of the current kubeconfig's cluster.")
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Take the pools of this one's."
)
@click.option("--ttft", type=_DURATION, help="Time to first token at the percentile.")
@click.option("--itl", type=_DURATION, help="Inter-token latency at the percentile.")
@click.option("--percentile", type=click.FloatRange(1, 99.99), default=95.0, show_default=True)
@click.option("--isl", type=_COUNT, default=1024, show_default=True, help="Prompt tokens of a request.")
@click.option("--osl", type=_COUNT, default=256, show_default=True, help="Output tokens of a request.")
@click.option("--tp", type=_COUNT, help="Tensor parallelism.")
@click.option("--pp", type=_COUNT, help="Pipeline parallelism.")
@click.option("--dp", type=_COUNT, help="Data-parallel attention (mixture of experts only).")
@click.option("--ep", type=_COUNT, help="GPUs that experts are spread over; 1 shards them by width.")
@click.option("--quantization", help="As the engine's flag, such as fp8.")
@click.option("--kv-dtype", help="As the engine's --kv-cache-dtype, such as fp8.")
@click.option("--context", type=_COUNT, help="Context length that must fit.")
@click.option("--max-num-seqs", type=_COUNT)
@click.option("--max-num-batched-tokens", type=_COUNT)
@click.option("--gpu-memory-utilization", type=click.FloatRange(0.1, 0.99), default=0.9, show_default=True)
@click.option("--draft", help="Draft model for speculative decoding, used where it is cheaper.")
@click.option("--draft-tokens", type=click.IntRange(1, 16), default=3, show_default=True)
@click.option(
    "--acceptance",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.7,
    show_default=True,
    help="How often a guess of the draft is right.",
)
@click.option("-o", "--output", type=click.Choice(sorted(_RENDER)), default="table", show_default=True)
def plan(  # noqa: PLR0917 - one parameter per option
    model: str,
    gpus: tuple[str, ...],
    prices: tuple[str, ...],
    from_cluster: bool,
    kubeconfig: str | None,
    ttft: float | None,
    itl: float | None,
    percentile: float,
    isl: int,
    osl: int,
    tp: int | None,
    pp: int | None,
    dp: int | None,
    ep: int | None,
    quantization: str | None,
    kv_dtype: str | None,
    context: int | None,
    max_num_seqs: int | None,
    max_num_batched_tokens: int | None,
    gpu_memory_utilization: float,
    draft: str | None,
    draft_tokens: int,
    acceptance: float,
    output: str,
) -> None:
    """Choose the parallelism for MODEL: a hub id, a folder with config.json, or a config.json.

    Exits with 1 where no layout is possible, and says what would be.
    """
    pools = _pools(gpus, prices, from_cluster=from_cluster, kubeconfig=kubeconfig)
    expert = None if ep is None else ep > 1
    spec = DeploymentSpec(
        name="plan",
        namespace="",
        uid="",
        generation=1,
        model=ModelSpec(model, context),
        engine=EngineSpec(
            image="",
            quantization=quantization,
            kv_cache_dtype=kv_dtype,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            gpu_memory_utilization=gpu_memory_utilization,
            speculative=SpeculativeSpec(draft, draft_tokens, acceptance) if draft else None,
        ),
        objectives=Objectives(percentile, ttft, itl),
        workload=Workload(isl, osl),
        parallelism=ParallelismSpec(tp, pp, dp, expert, ep if expert else None),
    )
    try:
        facts, draft_facts = read_model(model), read_model(draft) if draft else None
    except ModelFactsError as error:
        answer = Answer(None, _unreadable(error), pools, spec)
    else:
        planning = plan_layout(facts, pools, spec, draft_facts=draft_facts)
        answer = Answer(facts, planning, pools, spec)
    click.echo(_RENDER[output](answer), nl=False)
    if answer.planning.layout is None:
        sys.exit(REFUSED)


def _unreadable(error: ModelFactsError) -> Planning:
    advice = "give a folder with config.json, or one of the recorded models"
    return Planning(None, Refusal(Reason(error.code, error.message), advice))


def _pools(
    gpus: tuple[str, ...], prices: tuple[str, ...], *, from_cluster: bool, kubeconfig: str | None
) -> tuple[Pool, ...]:
    stated = dict(map(parse_price, prices))
    pools = tuple(parse_gpu(text, stated) for text in gpus)
    if from_cluster or kubeconfig:
        pools += cluster_pools(kubeconfig)
    elif not pools:
        raise click.UsageError("name the GPUs with --gpu, or take those of a cluster with --from-cluster")
    names = [pool.name for pool in pools]
    if len(set(names)) < len(names):
        raise click.UsageError("the same --gpu twice")
    return pools
