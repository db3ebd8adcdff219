"""`inferfleet pools`: the GPU pools that planning would see."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from inferfleet.api import PRICE_LIST, GPUPool, read_prices
from inferfleet.capacity import with_prices
from inferfleet.cli.cluster import ask, console
from inferfleet.cluster.client import FORBIDDEN, NOT_FOUND, ApiFailure, ApiServer
from inferfleet.cluster.project import gpus_taken, project_gpu_use, project_node
from inferfleet.cluster.project_node_pools import project_node_pool
from inferfleet.cluster.resources import CONFIG_MAPS, GPU_POOLS, NODE_POOLS, NODES, PODS, Resource
from inferfleet.planning import discover_pools
from inferfleet.values import Pool

GIB = 2**30


async def find_pools(api: ApiServer) -> tuple[Pool, ...]:
    """Discover pools as a pass does, from one look at nodes, pods, GPUPools and the price list."""
    nodes = await api.get(NODES.path())
    pods = await api.get(PODS.path(), {"fieldSelector": "spec.nodeName!="})
    uses = [use for raw in pods["items"] if (use := project_gpu_use(raw))]
    specs = [GPUPool.parse(raw).to_values() for raw in await _optional(api, GPU_POOLS)]
    node_pools = [project_node_pool(raw) for raw in await _optional(api, NODE_POOLS)]
    known = [project_node(raw) for raw in nodes["items"]]
    found = discover_pools(known, specs, gpus_taken(uses, ()), node_pools)
    lists = await _optional(api, CONFIG_MAPS, {"fieldSelector": f"metadata.name={PRICE_LIST}"})
    return with_prices(found, [price for raw in lists for price in read_prices(raw)])


async def _optional(
    api: ApiServer, resource: Resource, query: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """What a cluster need not have, or need not show to everybody."""
    try:
        found: list[dict[str, Any]] = (await api.get(resource.path(), query))["items"]
    except ApiFailure as failure:
        if failure.status in {FORBIDDEN, NOT_FOUND}:
            return []
        raise
    return found


def table(pools: tuple[Pool, ...]) -> Table:
    """One row per offer: how nodes of a pool can be bought, and what is there."""
    headings = ("POOL", "GPU", "PER NODE", "MEMORY", "CAPACITY", "ZONE", "NODES", "FREE GPUS", "$/GPU/H")
    drawn = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for pool in pools:
        gpu = pool.accelerator
        for offer in pool.offers:
            drawn.add_row(
                pool.name,
                gpu.name + ("" if gpu.known else " (only its memory is known)"),
                str(pool.gpus_per_node),
                f"{gpu.memory_bytes / GIB:.0f} GiB",
                offer.capacity_type.value,
                offer.zone or "any",
                str(offer.nodes),
                f"{offer.free_gpus} of {offer.gpus}",
                f"{offer.price_dollars_per_gpu_hour:.2f} ({offer.price_source})",
            )
    return drawn


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Kubeconfig to use.")
@click.option("--context", help="Context of the kubeconfig.")
def pools(kubeconfig: str | None, context: str | None) -> None:
    """Show the GPU pools as planning sees them: from node labels, GPUPools and Karpenter's NodePools."""
    found = ask(kubeconfig, context, find_pools)
    if not found:
        click.echo(
            "No node reports GPUs, and no GPUPool or NodePool describes any: is the device plugin installed, "
            "and do nodes carry its labels?",
            err=True,
        )
        return
    console().print(table(found))
