"""How many replicas a load needs: square-root staffing, over as many queues as the router makes of them."""

from __future__ import annotations

from math import hypot, sqrt

ROOM = 0.2
"""The room for chance that each queue needs besides, in replicas: so much of one that is alone stays free."""


def gain(replicas: float, pooling: float, unevenness: float) -> float:
    """How many times what one takes alone each of so many replicas takes.

    What a replica keeps free for chance shrinks with the square root of how many share a queue (Halfin and
    Whitt 1981); `pooling` is what each of very many takes. Replicas that always give the next request to the
    least loaded are one queue however many they are; where requests are spread by chance, each is its own.
    """
    sharing = max(1.0, replicas / _queues(replicas, unevenness))
    return pooling - (pooling - 1) / sqrt(sharing)


def replicas_for(alone: float, error: float, pooling: float, unevenness: float) -> float:
    """How many replicas serve what so many would if each served alone, arrivals were even, and known exactly.

    Chance within a queue and the `error` (in replicas as well) have nothing to do with each other: their
    squares add up to that of the room for both.
    """
    if alone <= 0:
        return 0.0
    queues = _queues(alone, unevenness)
    each, spare = max(1.0, alone / queues), pooling - 1
    # n replicas that share a queue serve n gain(n) = pooling n - spare sqrt(n) of those alone
    root = (spare + sqrt(spare * spare + 4 * pooling * each)) / (2 * pooling)
    serving = min(alone, queues * root * root)
    return serving + hypot(ROOM * queues, error * serving / alone)


def _queues(replicas: float, unevenness: float) -> float:
    return min(1.0, replicas) + max(0.0, replicas - 1.0) * min(1.0, unevenness)
