"""Who is to come, and when: what a replica's end says about the next one."""

from __future__ import annotations

import pytest
from small_world import SmallWorld, deployment, gpu_node

from inferfleet.values import AutoscalingSpec, CapacitySpec, CapacityType, IntOrPercent


def serving(replicas: int) -> SmallWorld:
    spec = deployment(
        AutoscalingSpec(min_replicas=replicas, max_replicas=replicas),
        CapacitySpec(on_demand_base=IntOrPercent(count=replicas)),
    )
    world = SmallWorld(spec, {"od": gpu_node("od", CapacityType.ON_DEMAND, "zone-a", gpus=8)})
    world.run_until(lambda w: len(w.endpoints) == replicas)
    return world


@pytest.mark.parametrize("end", ["deleted", "drained"])
def test_a_replica_that_was_told_to_end_is_no_failure_that_would_delay_the_next(end: str):
    world = serving(2)
    for _ in range(3):
        victim = min(world.endpoints)
        if end == "deleted":
            world.delete_pod(victim)
        else:
            world.cordon("od")
            world.step()
            world.restore("od")
        world.run_until(lambda w, victim=victim: victim not in w.workers)
        world.run_until(lambda w: len(w.endpoints) == len(w.workers) == 2)
    assert world.last is not None
    assert world.last.memory.capacity.failures == ()
