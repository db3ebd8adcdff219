"""What becomes of replicas that wait for Karpenter to buy their node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inferfleet.planning.node_pools import can_buy
from inferfleet.values import NodePool, OfferKey, Pool, Reason, Requirement, Worker


@dataclass(frozen=True, slots=True)
class Purchase:
    """Replicas that wait for a node of Karpenter's. Without an `obstacle` it is on its way."""

    waiting: tuple[str, ...]
    obstacle: Reason | None


def expect_purchase(
    waiting: Sequence[Worker],
    pools: Sequence[Pool],
    node_pools: Sequence[NodePool],
    patience_seconds: float,
    now: float,
) -> Purchase | None:
    """Say what stands in the way of the nodes that are waited for.

    `waiting` are replicas for whose pods the scheduler found no node. Karpenter takes some seconds to buy and
    some minutes to boot one; what is not there after `patience_seconds` is not on its way any more.

    Returns:
        None where a replica waits for somebody else than Karpenter.
    """
    known = {pool.name: pool for pool in pools}
    wanted = [_wanted(worker.offer, known) for worker in waiting]
    if not waiting or not all(map(_is_karpenters, wanted)):
        return None
    obstacles = [_obstacle(one, node_pools) for one in wanted]
    late = [worker for worker in waiting if now - worker.created_at >= patience_seconds]
    obstacle = next(filter(None, obstacles), None)
    if obstacle is None and late:
        able = ", ".join(one.name for one in node_pools if can_buy(one, wanted[waiting.index(late[0])]))
        message = (
            f"NodePool {able} could buy a node and has not for {patience_seconds:g} s: is it sold out, or"
        )
        obstacle = Reason("NotBought", f"{message} does Karpenter not run?")
    return Purchase(tuple(worker.name for worker in waiting), obstacle)


def _wanted(offer: OfferKey, pools: Mapping[str, Pool]) -> tuple[Requirement, ...]:
    pool = pools.get(offer.pool)
    if pool is None:
        return ()
    there = (one for one in pool.offers if (one.capacity_type, one.zone) == (offer.capacity_type, offer.zone))
    return (*pool.requirements, *(requirement for one in there for requirement in one.requirements))


def _is_karpenters(wanted: Sequence[Requirement]) -> bool:
    return any(one.key.startswith("karpenter.") for one in wanted)


def _obstacle(wanted: Sequence[Requirement], node_pools: Sequence[NodePool]) -> Reason | None:
    able = [node_pool for node_pool in node_pools if can_buy(node_pool, wanted)]
    if not able:
        asked = ", ".join(f"{one.key} {one.operator} {'|'.join(one.values)}" for one in wanted)
        others = f"{len(node_pools)} NodePools, none of which" if node_pools else "no NodePool that"
        return Reason("NoNodePool", f"Karpenter has {others} allows {asked}")
    problems = [node_pool.problem or _exhausted(node_pool) for node_pool in able]
    if not all(problems):
        return None
    told = "; ".join(f"{one.name}: {problem}" for one, problem in zip(able, problems, strict=True))
    return Reason("NodePoolBlocked", f"NodePool {told}")


def _exhausted(node_pool: NodePool) -> Reason | None:
    if node_pool.gpu_limit is None or node_pool.gpus < node_pool.gpu_limit:
        return None
    return Reason("LimitReached", f"{node_pool.gpus} GPUs of at most {node_pool.gpu_limit} are bought")
