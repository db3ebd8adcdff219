"""Pools, replicas and demands in a few words, for tests of capacity."""

from __future__ import annotations

from dataclasses import replace

from inferfleet.capacity import Allocation, Need, allocate
from inferfleet.values import (
    Accelerator,
    CapacityMemory,
    CapacitySpec,
    CapacityType,
    IntOrPercent,
    Offer,
    OfferKey,
    PodPhase,
    Pool,
    Reason,
    Worker,
    WorkerPod,
)

NOW = 50_000.0
OD, SPOT, RESERVED = CapacityType.ON_DEMAND, CapacityType.SPOT, CapacityType.RESERVED
PRICES = {OD: 1.0, SPOT: 0.3, RESERVED: 0.0}
DENIED = Reason("Unschedulable", "0/4 nodes are available")


def offer(kind: CapacityType, zone: str = "a", free: int = 100, price: float | None = None) -> Offer:
    return Offer("pool", kind, zone, PRICES[kind] if price is None else price, "test", free_gpus=free)


def pool(*offers: Offer) -> Pool:
    return Pool("pool", Accelerator("L4", 24 << 30, 3e11, 1e14), 4, 4, (), offers)


ALL = pool(offer(OD), offer(SPOT), offer(SPOT, "b"))
FULL = replace(ALL, max_nodes=4)


def worker(name: str, kind: CapacityType, zone: str = "a", *, ready: bool = True, **pod: object) -> Worker:
    base = WorkerPod(f"{name}-0", f"uid-{name}", 0, PodPhase.RUNNING, NOW - 1000, f"node-{name}", ready=ready)
    return Worker(name, "rev", OfferKey("pool", kind, zone), (replace(base, **pod),))  # type: ignore[arg-type]


def workers(**counts: int) -> tuple[Worker, ...]:
    kinds = {"od": OD, "spot": SPOT, "reserved": RESERVED}
    return tuple(worker(f"{name}{n}", kinds[name]) for name, count in counts.items() for n in range(count))


def spec(base: int = 1, share: float = 1.0, **changes: object) -> CapacitySpec:
    made = CapacitySpec(on_demand_base=IntOrPercent(count=base), spot_share=IntOrPercent(share=share))
    return replace(made, **changes)  # type: ignore[arg-type]


def ask(target: int, staying: tuple[Worker, ...] = (), **changes: object) -> Allocation:
    need = Need(target, spec(), ALL, 1, staying)
    memory = changes.pop("memory", CapacityMemory())
    return allocate(replace(need, **changes), memory, NOW)  # type: ignore[arg-type]


def placed(allocation: Allocation) -> list[tuple[CapacityType, str]]:
    return [(p.offer.capacity_type, p.offer.zone) for p in allocation.placements]


def kinds(allocation: Allocation) -> str:
    return " ".join(sorted(p.offer.capacity_type.value for p in allocation.placements))


def interrupted(at: float) -> tuple[tuple[OfferKey, float], ...]:
    return ((OfferKey("pool", SPOT, "a"), at),)


def spot_in(zone: str, count: int, *, ready: bool = True) -> tuple[Worker, ...]:
    return tuple(worker(f"{zone}{n}", SPOT, zone, ready=ready) for n in range(count))
