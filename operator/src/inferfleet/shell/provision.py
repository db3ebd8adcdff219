"""NodePools of Karpenter's for the GPUPools that ask for one: no others are written, only ours deleted."""

from __future__ import annotations

import logging
import time
from typing import Final

from inferfleet.api import GPUPoolStatus, provisioned
from inferfleet.api.status import ConditionStatus
from inferfleet.cluster.client import NOT_FOUND, TRANSIENT, ApiFailure
from inferfleet.cluster.fence import Fenced, FencedApi
from inferfleet.cluster.resources import NODE_POOLS
from inferfleet.shell.kinds import PoolRecord
from inferfleet.shell.views import Views
from inferfleet.values import Reason, labels

log = logging.getLogger(__name__)

FORBIDDEN: Final = 403
ADVICE: Final = {
    NOT_FOUND: "is Karpenter installed?",
    FORBIDDEN: "install the chart with rbac.writeNodePools=true",
}


async def provision(api: FencedApi, views: Views, record: PoolRecord) -> list[ConditionStatus]:
    """Write, renew or take back the NodePool of a GPUPool, and say how it stands, where one is asked for.

    A NodePool of the same name that belongs to somebody else is left alone. With the GPUPool itself goes its
    NodePool, by the garbage collector; Karpenter then drains the nodes.
    """
    view = views.karpenter_pools.view
    if record.deleting or record.spec is None or not view.synced.is_set():
        return list(GPUPoolStatus.model_validate(record.status).conditions)
    there = view.items.get(("", record.name))
    ours = there is not None and there.owner == record.uid
    problem: Reason | None = None
    try:
        if record.node_pool is None:
            if ours:
                await api.delete(NODE_POOLS.path(None, record.name))
            return []
        wanted = record.node_pool["metadata"]["annotations"][labels.HASH_ANNOTATION]
        if there is not None and not ours:
            problem = Reason("NameTaken", f"a NodePool {record.name} exists that is not this GPUPool's")
        elif there is None or there.digest != wanted:
            view.fold(await api.apply(NODE_POOLS.path(None, record.name), record.node_pool))
    except ApiFailure as failure:
        advice = ADVICE.get(failure.status)
        problem = Reason("NotApplied", f"{failure.message}: {advice}" if advice else failure.message)
    except (Fenced, *TRANSIENT) as error:
        problem = Reason("NotApplied", str(error) or type(error).__name__)
    if problem:
        log.warning("NodePool of GPUPool %s: %s", record.name, problem)
    told = GPUPoolStatus.model_validate(record.status)
    return [provisioned(problem, told, record.generation, time.time())]
