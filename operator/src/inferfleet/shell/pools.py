"""Giving each GPUPool the NodePool that it asks for, and telling what was found of it, in its status."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final, Never

from inferfleet.api import GPUPoolStatus, pool_status
from inferfleet.cluster.client import TRANSIENT, ApiFailure
from inferfleet.cluster.fence import Fenced, FencedApi
from inferfleet.cluster.merge import merge_patch
from inferfleet.cluster.resources import GPU_POOLS
from inferfleet.planning import discover_pools
from inferfleet.shell.kinds import EVERYONE, PoolRecord
from inferfleet.shell.provision import provision
from inferfleet.shell.views import Views, Wakes

log = logging.getLogger(__name__)

POOLS: Final = EVERYONE + "pools"
EVERY_SECONDS: Final = 2.0
# Pods take and free GPUs without waking this.
RECOUNT_SECONDS: Final = 10.0


async def tell_pools(api: FencedApi, views: Views, wakes: Wakes) -> Never:
    """Keep the NodePools and the status of all GPUPools current."""
    changed = wakes.of(POOLS)
    while True:
        changed.clear()
        found = discover_pools(views.all_nodes(), views.pool_specs(), views.gpus_taken(), views.node_pools())
        by_name = {pool.name: pool for pool in found}
        for record in list(views.pools.view.items.values()):
            conditions = await provision(api, views, record)
            status = pool_status(by_name.get(record.name), record.generation, conditions)
            await _tell(api, views, record, status)
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOUNT_SECONDS):
                await changed.wait()
        await asyncio.sleep(EVERY_SECONDS)


async def _tell(api: FencedApi, views: Views, record: PoolRecord, status: GPUPoolStatus) -> None:
    if record.spec is None or status == GPUPoolStatus.model_validate(record.status):
        return
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    body = {"status": merge_patch(record.status, written)}
    try:
        views.pools.view.fold(await api.patch(GPU_POOLS.path(None, record.name, "status"), body))
    except (ApiFailure, Fenced, *TRANSIENT) as error:
        log.warning("status of GPUPool %s was not written: %s", record.name, error)
