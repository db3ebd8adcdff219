"""Fleets in the small world: how they begin, what is asked of them, and what must hold in every pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from small_world import SmallWorld, deployment, gpu_node

from inferfleet.values import (
    AutoscalingSpec,
    CapacitySpec,
    CapacityType,
    ConditionType,
    CreateWorker,
    DeletePod,
    DrainCause,
    IntOrPercent,
    MarkDraining,
    Plan,
    Reason,
    SetServing,
    Worker,
)

ON_DEMAND, SPOT = CapacityType.ON_DEMAND, CapacityType.SPOT
SPOT_TAINT = "aws-node-termination-handler/spot-itn"


def autoscaling(**changes: Any) -> AutoscalingSpec:
    spec = AutoscalingSpec(
        min_replicas=1,
        max_replicas=3,
        target_queue_per_replica=2,
        scale_down_window_seconds=25,
        max_scale_down_per_minute=10,
    )
    return replace(spec, **changes)


def mixed(base: int = 1, share: float = 1.0, **changes: Any) -> CapacitySpec:
    spec = CapacitySpec(on_demand_base=IntOrPercent(count=base), spot_share=IntOrPercent(share=share))
    return replace(spec, **changes)


def two_nodes(
    scaling: AutoscalingSpec | None = None, capacity: CapacitySpec | None = None, **changes: Any
) -> SmallWorld:
    nodes = (gpu_node("od", ON_DEMAND, "zone-a"), gpu_node("spot", SPOT, "zone-b"))
    world = SmallWorld(
        deployment(scaling or autoscaling(), capacity or mixed(), **changes),
        {node.name: node for node in nodes},
    )
    world.checks.append(Guard())
    return world


class Guard:
    """What must hold in every pass, whatever happens."""

    def __init__(self) -> None:
        self.deadlines: dict[str, float] = {}

    def __call__(self, world: SmallWorld, made: Plan) -> None:
        assert made.desired >= world.spec.autoscaling.min_replicas or world.spec.deleted_at
        drains = [worker for worker in world.workers.values() if worker.drain]
        for worker in drains:
            deadline = worker.drain.deadline if worker.drain else None
            held = self.deadlines.get(worker.leader.uid)
            assert held is None or (deadline is not None and deadline <= held + 1), "a drain was loosened"
            if deadline is not None:
                self.deadlines[worker.leader.uid] = deadline
        self.endpoints_stay_served(world, made)

    @staticmethod
    def endpoints_stay_served(world: SmallWorld, made: Plan) -> None:
        """Nobody takes the last replica out of service unless its machine goes or the deployment does."""
        if world.spec.deleted_at is not None or made.desired == 0:
            return
        by_uid = {worker.leader.uid: worker for worker in world.workers.values()}
        out = [a.uid for a in made.actions if isinstance(a, SetServing) and not a.serving]
        out += [a.uid for a in made.actions if isinstance(a, DeletePod)]
        leaving = {by_uid[uid].name for uid in out if uid in by_uid}
        if not leaving or set(world.endpoints) - leaving or not set(world.endpoints) & leaving:
            return
        marks = {a.uid: a.drain.cause for a in made.actions if isinstance(a, MarkDraining)}
        for uid in out:
            worker = by_uid[uid]
            cause = marks.get(uid) or (worker.drain.cause if worker.drain else None)
            going = world.nodes.get(worker.leader.node or "")
            assert cause is DrainCause.INTERRUPTION or going is None or going.not_ready_since, (
                f"{worker.name} was the last in service and went for {cause}"
            )


def quiet(world: SmallWorld) -> bool:
    return world.last is not None and not world.last.actions and not world.last.events


def assert_fixed_point(world: SmallWorld) -> None:
    world.run_until(lambda w: quiet(w) and all(worker.ready for worker in w.workers.values()))
    for _ in range(5):
        made = world.act()
        assert made.actions == ()
        assert made.events == ()


def serving(replicas: int, **changes: Any) -> SmallWorld:
    world = two_nodes(autoscaling(min_replicas=replicas, max_replicas=max(3, replicas)), **changes)
    world.run_until(lambda w: len(w.endpoints) == replicas)
    world.run(30)
    assert_fixed_point(world)
    return world


def rolled_out(world: SmallWorld) -> bool:
    return world.last is not None and {w.revision for w in world.workers.values()} == {world.last.revision}


def created(made: Plan) -> list[CreateWorker]:
    return [action for action in made.actions if isinstance(action, CreateWorker)]


def condition(made: Plan, kind: ConditionType) -> tuple[bool | None, Reason]:
    found = next(c for c in made.conditions if c.type is kind)
    return found.status, found.reason


def of_type(world: SmallWorld, kind: CapacityType) -> list[Worker]:
    return [worker for worker in world.staying if worker.offer.capacity_type is kind]


def at_least(world: SmallWorld, count: int) -> None:
    assert len(world.endpoints) >= count
