"""Workers, samples and memories from which tests of scaling are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from inferfleet import scaling
from inferfleet.scaling import Scope, newest
from inferfleet.values import (
    AutoscalingSpec,
    CapacityType,
    EngineSample,
    Layout,
    OfferKey,
    PodPhase,
    Prediction,
    ScalingDecision,
    ScalingMemory,
    Worker,
    WorkerPod,
)

NOW = 10_000.0
OFFER = OfferKey("pool", CapacityType.ON_DEMAND)
LAYOUT = Layout(
    pool="pool",
    accelerator="L4",
    tensor_parallel=1,
    pipeline_parallel=1,
    max_model_len=4096,
    max_num_seqs=8,
    max_num_batched_tokens=2048,
    gpu_memory_utilization=0.9,
    weights_bytes_per_gpu=1,
    kv_cache_tokens=100_000,
    prediction=Prediction(1.0, 0.04, 100.0, 400.0, 8, 1.0),
)
SPEC = AutoscalingSpec(
    min_replicas=1,
    max_replicas=20,
    target_queue_per_replica=4,
    target_utilization=0.8,
    scale_up_window_seconds=0,
    scale_down_window_seconds=60,
    max_scale_down_per_minute=20,
    max_scale_up_per_minute=20,
)
AT_ONCE = replace(SPEC, scale_down_window_seconds=0)


def worker(name: str, *, ready: bool = True, ready_since: float = 0.0, created_at: float = 0.0) -> Worker:
    """A worker of one pod, in service since long ago or not yet."""
    pod = WorkerPod(
        f"{name}-0",
        f"uid-{name}",
        0,
        PodPhase.RUNNING,
        created_at,
        "node",
        serving=True if ready else None,
        ready=ready,
        ready_since=ready_since if ready else None,
    )
    return Worker(name, "rev", OFFER, (pod,))


def sample(
    name: str, at: float = NOW, waiting: float = 0, running: float = 0, **more: object
) -> EngineSample:
    """One look at one worker."""
    return EngineSample(worker=name, at=at, waiting=waiting, running=running, **more)  # type: ignore[arg-type]


def fleet(count: int, starting: int = 0) -> tuple[Worker, ...]:
    """Workers w0, w1 … in service, and s0, s1 … on their way."""
    ready = [worker(f"w{n}") for n in range(count)]
    return (*ready, *(worker(f"s{n}", ready=False) for n in range(starting)))


def scope(workers: tuple[Worker, ...], samples: tuple[EngineSample, ...], **changes: object) -> Scope:
    """What scaling looks at."""
    base = Scope(spec=SPEC, staying=workers, samples=newest({}, samples), layout=LAYOUT)
    return replace(base, **changes)  # type: ignore[arg-type]


def decide(seen: Scope, memory: ScalingMemory, now: float) -> tuple[ScalingDecision, ScalingMemory]:
    """Decide on the new samples and on those that are remembered, as a pass does."""
    heard = newest(memory.samples, seen.samples.values())
    return scaling.decide(replace(seen, samples=heard), memory, now)


def settled(desired: int) -> ScalingMemory:
    """A memory whose windows are full of `desired`."""
    return ScalingMemory(
        recommendations=((NOW - 1000, desired), (NOW - 1, desired)),
        desired=desired,
        changed_at=NOW - 1000,
        changes=((NOW - 1000, desired),),
    )


def each(count: int, waiting: float = 0, running: float = 0, at: float = NOW) -> tuple[EngineSample, ...]:
    """The same sample of w0, w1 …."""
    return tuple(sample(f"w{n}", at, waiting, running) for n in range(count))


def walk(scopes: list[tuple[float, Scope]], memory: ScalingMemory) -> list[int]:
    """What is decided at each instant, one after the other."""
    desired = []
    for at, seen in scopes:
        decision, memory = decide(seen, memory, at)
        desired.append(decision.desired)
    return desired


Shape = Callable[[float], float]
"""Something over the seconds since the beginning."""


def steady(
    rate: Shape,
    *,
    replicas: int = 1,
    seconds: int = 300,
    every: int = 5,
    memory: ScalingMemory | None = None,
    output: float = 20.0,
    waiting: Shape = lambda _s: 0.0,
    running: float = 2.0,
    pace: Shape | None = None,
    latencies: Callable[[float], dict[str, object]] | None = None,
    **changes: object,
) -> Iterator[tuple[float, ScalingDecision, ScalingMemory]]:
    """Walk a fleet whose size does not follow: what is decided while `rate` requests per second come.

    Each asks for `output` tokens and is served at once, unless `pace` says what a replica makes. All is
    spread evenly; `latencies` adds histograms, by how many requests came to a replica so far.
    """
    memory = memory or settled(replicas)
    came = made = 0.0
    for second in range(0, seconds, every):
        at = NOW + second
        if second:
            came += rate(second) * every / replicas
            made += (pace(second) if pace else rate(second) * output / replicas) * every
        samples = tuple(
            sample(
                f"w{n}",
                at,
                waiting(second),
                running,
                arrivals_total=came,
                generation_tokens_total=made,
                requests_total=came,
                request_prompt_tokens_total=10 * came,
                request_output_tokens_total=output * came,
                **(latencies(came) if latencies else {}),
            )
            for n in range(replicas)
        )
        decision, memory = decide(scope(fleet(replicas), samples, **changes), memory, at)
        yield at, decision, memory
