"""`inferfleet explain`: why a deployment has its plan, its scale and its capacity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from inferfleet.api import InferenceDeploymentStatus
from inferfleet.api.layout import MeasuredStatus
from inferfleet.cli.cluster import ask, console
from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.resources import DEPLOYMENTS, EVENTS

EVENTS_SHOWN = 15


async def read(
    api: ApiServer, namespace: str, name: str
) -> tuple[InferenceDeploymentStatus, list[dict[str, Any]]]:
    """The status of a deployment and its Events, oldest first."""
    raw = await api.get(DEPLOYMENTS.path(namespace, name))
    selector = {"fieldSelector": f"regarding.uid={raw['metadata']['uid']}"}
    events: list[dict[str, Any]] = (await api.get(EVENTS.path(namespace), selector))["items"]
    return InferenceDeploymentStatus.model_validate(raw.get("status") or {}), sorted(events, key=_last_seen)


def render(name: str, status: InferenceDeploymentStatus, events: list[dict[str, Any]]) -> Group:
    """All sections that have something to say."""
    title = Text(f"{name}: {status.state or 'not seen by the operator yet'}", style="bold")
    sections = (_plan, _rejected, _scaling, _capacity, _interruptions, _lost, _conditions)
    parts: list[RenderableType] = [title]
    for section in sections:
        parts += section(status)
    return Group(*parts, *_events(events))


def _plan(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    yield from _heading("Plan")
    if status.refusal:
        yield Text(f"  refused: {status.refusal.reason}: {status.refusal.message}")
        if status.refusal.nearest:
            yield Text(f"  nearest: {status.refusal.nearest}")
    plan = status.plan
    if plan is None:
        if not status.refusal:
            yield Text("  none yet")
        return
    predicted = plan.predicted
    yield _facts(
        ("layout", f"{plan.summary} on pool {plan.pool}, {plan.gpus_per_replica} GPUs per replica"),
        ("why", plan.why),
        ("KV cache", f"{plan.kv_cache_tokens} tokens, sequences up to {plan.max_model_len}"),
        ("speed", f"{predicted.tokens_per_second:.0f} tokens/s with {predicted.concurrency} at once"),
        (
            "latency",
            (
                f"{1000 * predicted.time_to_first_token_seconds:.0f} ms to the first token, "
                f"{1000 * predicted.inter_token_latency_seconds:.0f} ms between tokens"
            ),
        ),
        ("cost", f"${predicted.dollars_per_million_tokens:.2f} per million tokens"),
        *([("measured", _measured(plan.measured))] if plan.measured else []),
        *(("warning", f"{warning.reason}: {warning.message}") for warning in plan.warnings),
    )


def _measured(seen: MeasuredStatus) -> str:
    return (
        f"{seen.kv_cache_tokens} KV tokens, {seen.tokens_per_second:.0f} tokens/s with {seen.concurrency} "
        f"at once, ${seen.dollars_per_million_tokens:.2f} per million tokens"
    )


def _rejected(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    if not status.rejected:
        return
    yield from _heading("Rejected")
    yield _facts(*((lost.candidate, f"{lost.reason}: {lost.message}") for lost in status.rejected))


def _scaling(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    scaling = status.scaling
    if not scaling.reason:
        return
    yield from _heading("Scale")
    yield _facts(
        ("replicas", f"{status.ready_replicas} ready of {status.desired_replicas} wanted"),
        ("decision", f"{scaling.reason}: {scaling.message}"),
        ("laws", ", ".join(f"{law.law} asks for {law.replicas}" for law in scaling.laws) or "none"),
        ("limited by", scaling.limited_by or "nothing"),
        ("evidence", scaling.evidence),
        (
            "load",
            (
                f"{scaling.queue:g} waiting, {scaling.running:g} running, "
                f"{scaling.tokens_per_second:g} tokens/s, {scaling.capacity_tokens_per_second:g} per replica"
            ),
        ),
    )


def _capacity(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    capacity = status.capacity
    if not (capacity.placement or capacity.targets):
        return
    yield from _heading("Capacity")
    wanted = ", ".join(f"{target.replicas} {target.capacity_type.value}" for target in capacity.targets)
    yield _facts(
        ("wanted", wanted or "nothing"),
        *(
            (
                f"{entry.capacity_type.value} {entry.zone or 'any zone'}",
                f"{entry.replicas} replicas on pool {entry.pool}, {entry.ready} ready",
            )
            for entry in capacity.placement
        ),
        ("cost", f"${status.cost.dollars_per_hour:g} per hour"),
        *(
            ("fallback", f"spot is short since {since}")
            for since in filter(None, [capacity.spot_short_since])
        ),
        *(
            ("lost", f"{loss.capacity_type.value} {loss.zone or 'any zone'} of pool {loss.pool} at {loss.at}")
            for loss in capacity.losses
        ),
    )


def _interruptions(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    if not status.interruptions:
        return
    yield from _heading("Nodes that are going")
    yield _facts(
        *(
            (
                gone.node,
                f"{gone.kind} seen at {gone.seen_at} by {gone.source}, until {gone.deadline or 'unknown'}",
            )
            for gone in status.interruptions
        )
    )


def _lost(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    if not status.lost_by_cause:
        return
    yield from _heading("Requests that got no whole answer")
    yield _facts(*((f"{lost.requests}", f"lost to {lost.cause.value}") for lost in status.lost_by_cause))


def _conditions(status: InferenceDeploymentStatus) -> Iterator[RenderableType]:
    if not status.conditions:
        return
    yield from _heading("Conditions")
    drawn = Table(box=None, show_header=False, pad_edge=False)
    for condition in status.conditions:
        drawn.add_row(
            f"  {condition.type}", condition.status, Text(f"{condition.reason}: {condition.message}")
        )
    yield drawn


def _events(events: list[dict[str, Any]]) -> Iterator[RenderableType]:
    if not events:
        return
    yield from _heading("Events")
    drawn = Table(box=None, show_header=False, pad_edge=False)
    for event in events[-EVENTS_SHOWN:]:
        count = (event.get("series") or {}).get("count", 1)
        times = f" (x{count})" if count > 1 else ""
        note = Text(f"{event.get('reason', '')}: {event.get('note', '')}{times}")
        drawn.add_row(f"  {_last_seen(event)[:19]}", event.get("type", ""), note)
    yield drawn


def _heading(words: str) -> Iterator[RenderableType]:
    yield Text("")
    yield Text(words, style="bold")


def _facts(*facts: tuple[str, str]) -> Table:
    drawn = Table(box=None, show_header=False, pad_edge=False)
    for name, text in facts:
        drawn.add_row(f"  {name}", Text(text))
    return drawn


def _last_seen(event: dict[str, Any]) -> str:
    series = event.get("series") or {}
    found = series.get("lastObservedTime") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return str(found)


@click.command()
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the deployment.")
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Kubeconfig to use.")
@click.option("--context", help="Context of the kubeconfig.")
def explain(name: str, namespace: str, kubeconfig: str | None, context: str | None) -> None:
    """Show the plan of a deployment, what it was preferred to, and why it has its scale and capacity."""
    status, events = ask(kubeconfig, context, lambda api: read(api, namespace, name))
    console().print(render(f"{namespace}/{name}", status, events))
