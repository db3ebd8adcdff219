"""NodePools of Karpenter's for the GPUPools that ask for one: no others are written, only ours deleted."""

from __future__ import annotations

import logging
import time
from enum import Enum, auto
from typing import Final

from inferfleet.api import GPUPoolStatus, provisioned
from inferfleet.api.status import ConditionStatus
from inferfleet.cluster.client import NOT_FOUND, TRANSIENT, ApiFailure
from inferfleet.cluster.fence import Fenced, FencedApi
from inferfleet.cluster.resources import NODE_POOLS
from inferfleet.shell.kinds import NodePoolRecord, PoolRecord
from inferfleet.shell.views import Views
from inferfleet.values import Reason, labels

log = logging.getLogger(__name__)

FORBIDDEN: Final = 403
ADVICE: Final = {
    NOT_FOUND: "is Karpenter installed?",
    FORBIDDEN: "install the chart with rbac.writeNodePools=true",
}


class Due(Enum):
    """What has to be done about the NodePool of a GPUPool."""

    NOTHING = auto()
    WRITE = auto()
    TAKE_BACK = auto()
    NAME_TAKEN = auto()


def due(record: PoolRecord, there: NodePoolRecord | None) -> Due:
    """Compare what a GPUPool asks for with the NodePool of its name; that of somebody else is left alone."""
    ours = there is not None and there.owner == record.uid
    if record.node_pool is None:
        return Due.TAKE_BACK if ours else Due.NOTHING
    if there is not None and not ours:
        return Due.NAME_TAKEN
    wanted = record.node_pool["metadata"]["annotations"][labels.HASH_ANNOTATION]
    return Due.WRITE if there is None or there.digest != wanted else Due.NOTHING


async def provision(api: FencedApi, views: Views, record: PoolRecord) -> list[ConditionStatus]:
    """Write, renew or take back the NodePool of a GPUPool, and say how it stands, where one is asked for.

    With the GPUPool itself goes its NodePool, by the garbage collector; Karpenter then drains the nodes.
    """
    view = views.karpenter_pools.view
    told = GPUPoolStatus.model_validate(record.status)
    if record.deleting or record.spec is None or not view.synced.is_set():
        return list(told.conditions)
    path = NODE_POOLS.path(None, record.name)
    problem: Reason | None = None
    try:
        match due(record, view.items.get(("", record.name))):
            case Due.WRITE:
                view.fold(await api.apply(path, record.node_pool or {}))
            case Due.TAKE_BACK:
                await api.delete(path)
            case Due.NAME_TAKEN:
                problem = Reason("NameTaken", f"a NodePool {record.name} exists that is not this GPUPool's")
            case Due.NOTHING:
                pass
    except ApiFailure as failure:
        advice = ADVICE.get(failure.status)
        problem = Reason("NotApplied", f"{failure.message}: {advice}" if advice else failure.message)
    except (Fenced, *TRANSIENT) as error:
        problem = Reason("NotApplied", str(error) or type(error).__name__)
    if problem:
        log.warning("NodePool of GPUPool %s: %s", record.name, problem)
    elif record.node_pool is None:
        return []
    return [provisioned(problem, told, record.generation, time.time())]
