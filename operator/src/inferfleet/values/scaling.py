"""What the engines report, what scaling remembers between passes, and what it decided."""

from __future__ import annotations

from dataclasses import dataclass, field

from inferfleet.values.fleet import OfferKey
from inferfleet.values.hardware import CapacityType
from inferfleet.values.reason import Reason


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One scrape of one worker. Counters are totals since the engine started; None where not reported.

    `kv_cache_tokens` is the size that the engine itself reports; `in_flight` and `phase` come from the gate.
    Histograms are cumulative (upper bound seconds, count) pairs. `requests_total` are the finished requests;
    the two sums beside it are their tokens. `lost` are the gate's (cause, requests) pairs of `lost_total`;
    another `instance` is another start of the engine.
    """

    worker: str
    at: float
    running: float
    waiting: float
    kv_usage: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    arrivals_total: float | None = None
    lost_total: float = 0.0
    lost: tuple[tuple[str, float], ...] = ()
    kv_cache_tokens: int | None = None
    in_flight: int = 0
    gate_phase: str = "serving"
    instance: str = ""
    notices: tuple[tuple[str, float | None, str], ...] = ()
    ttft_buckets: tuple[tuple[float, float], ...] = ()
    itl_buckets: tuple[tuple[float, float], ...] = ()
    requests_total: float | None = None
    request_prompt_tokens_total: float | None = None
    request_output_tokens_total: float | None = None


@dataclass(frozen=True, slots=True)
class ScalingMemory:
    """What scaling carries from pass to pass.

    In the process only: `samples`, recent ones, oldest first; `recommendations`, (instant, replicas) pairs
    for the windows; `changes`, (instant, desired from then on) pairs for the rate limits. They are lost with
    the process, which makes scaling hold until a window is full again. The rest is kept in status.
    """

    samples: tuple[EngineSample, ...] = ()
    recommendations: tuple[tuple[float, int], ...] = ()
    desired: int | None = None
    changed_at: float | None = None
    tokens_per_second_per_replica: float | None = None
    changes: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """How many replicas, and the numbers that led there. `laws` are (law, replicas it asked for) pairs."""

    desired: int
    reason: Reason
    laws: tuple[tuple[str, int], ...] = ()
    limited_by: str = ""
    queue: float = 0.0
    running: float = 0.0
    tokens_per_second: float = 0.0
    capacity_tokens_per_second: float = 0.0
    evidence: str = "fresh"


@dataclass(frozen=True, slots=True)
class CapacityMemory:
    """What capacity carries from pass to pass, all of it kept in status.

    `losses` are (offer, instant) pairs of interruptions and failed placements; `fallback_until` is when
    on-demand bought for missing spot may go back; `failures` are the instants at which replicas ended by
    themselves, for the backoff of their replacement.
    """

    losses: tuple[tuple[OfferKey, float], ...] = ()
    fallback_until: float | None = None
    spot_short_since: float | None = None
    targets: tuple[tuple[CapacityType, int], ...] = field(default=())
    failures: tuple[float, ...] = ()
