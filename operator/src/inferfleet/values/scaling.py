"""What the engines report, what scaling remembers between passes, and what it decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from inferfleet.values.fleet import OfferKey
from inferfleet.values.frozen import dataclass
from inferfleet.values.hardware import CapacityType
from inferfleet.values.reason import Reason


@dataclass(frozen=True, slots=True)
class Buckets:
    """Observations by upper bound in seconds; counts are cumulative. False while there are no buckets."""

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def total(self) -> float:
        """All observations."""
        return self.counts[-1] if self.counts else 0.0


NO_BUCKETS: Final = Buckets()


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One scrape of one worker. Counters are totals since the engine started; None where not reported.

    `kv_cache_tokens` is the size that the engine itself reports; `in_flight` and `phase` come from the gate.
    `itl_buckets` count tokens, `request_itl_buckets` finished requests by their mean. `requests_total` are
    the finished requests; the two sums beside it are their tokens. `lost` is what the gate has lost, as
    (cause, requests) pairs; another `instance` is another start of the engine.
    """

    worker: str
    at: float
    running: float
    waiting: float
    kv_usage: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    arrivals_total: float | None = None
    lost: tuple[tuple[str, float], ...] = ()
    kv_cache_tokens: int | None = None
    in_flight: int = 0
    gate_phase: str = "serving"
    instance: str = ""
    notices: tuple[tuple[str, float | None, str], ...] = ()
    ttft_buckets: Buckets = NO_BUCKETS
    itl_buckets: Buckets = NO_BUCKETS
    request_itl_buckets: Buckets = NO_BUCKETS
    requests_total: float | None = None
    request_prompt_tokens_total: float | None = None
    request_output_tokens_total: float | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What went through the whole fleet between two looks at it; `at` is when the span ended.

    `arrivals` are requests that came, `finished` those that ended, with the tokens of their prompts and
    outputs; `generated` are all tokens made meanwhile, those of unfinished requests included.
    `busy_seconds` are replica-seconds during which a replica had a long queue, `busy_tokens` what it made
    then; `replica_seconds` are those of all replicas that were heard. `ttft` and `itl` are of the span
    alone.
    """

    at: float
    seconds: float
    arrivals: float = 0.0
    finished: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    generated: float = 0.0
    replica_seconds: float = 0.0
    busy_seconds: float = 0.0
    busy_tokens: float = 0.0
    in_system_seconds: float = 0.0
    waiting_seconds: float = 0.0
    ttft: Buckets = NO_BUCKETS
    itl: Buckets = NO_BUCKETS


@dataclass(frozen=True, slots=True)
class Foresight:
    """What the forecast remembers of demand, in generated tokens per second.

    `week` is the mean demand in each ten minutes of the week (UTC, Monday first; negative: not seen yet).
    `level` and `trend` (per second) are Holt's, as of `marked_at`. `promises` are forecasts that time will
    judge: (due, what was then, by trend, by season). `errors` are mean absolute errors: of persistence and
    the trend, then of persistence and the season, of which `judged` have been seen.
    """

    marked_at: float | None = None
    level: float = 0.0
    trend: float = 0.0
    week: tuple[float, ...] = ()
    promises: tuple[tuple[float, float, float, float | None], ...] = ()
    errors: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    judged: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class ScalingMemory:
    """What scaling carries from pass to pass.

    In the process only: `samples`, the newest of each worker by its name; `flows`, what went through the
    fleet lately, oldest first; `recommendations`, (instant, replicas) pairs for the windows; `levels`, the
    same of what demand alone asked for in the last hour; `changes`, (instant, desired from then on) pairs for
    the rate limits; `starting`, the workers that were seen before they first served; `served_since`, when the
    replicas in service (`served`) last became more, and `joined_at`, when others that served already were
    joined; `learned_at`, when latencies last moved the capacity; `trial_since`, `tried` and `missed` are the
    trial of the present one: since when, over how many requests, and how many of them missed an objective;
    `asked_lately` and `missed_lately` are all requests of about the last hour, and the misses among them;
    `panic_until`; `mean_over`, how many requests the mean one was taken over, 0 if that is not known. They
    are lost with the process, which makes scaling hold until a window is full again. The rest is kept in
    status: `tokens_per_second_per_replica` is the learned capacity of one alone while the plan predicted
    `predicted_tokens_per_second`; `busy_tokens_per_second` is what one with a long queue made;
    `prompt_tokens` and `output_tokens` are the mean request; `unevenness` is how far apart the loads of
    replicas are, 1 where chance spreads requests; `cold_starts` are the last seconds from creation to Ready.
    """

    samples: Mapping[str, EngineSample] = field(default_factory=dict)
    recommendations: tuple[tuple[float, int], ...] = ()
    levels: tuple[tuple[float, int], ...] = ()
    desired: int | None = None
    changed_at: float | None = None
    tokens_per_second_per_replica: float | None = None
    changes: tuple[tuple[float, int], ...] = ()
    flows: tuple[Flow, ...] = ()
    predicted_tokens_per_second: float | None = None
    busy_tokens_per_second: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    starting: frozenset[str] = frozenset()
    cold_starts: tuple[float, ...] = ()
    served: int = 0
    served_since: float | None = None
    joined_at: float | None = None
    learned_at: float | None = None
    trial_since: float | None = None
    tried: float = 0.0
    missed: float = 0.0
    asked_lately: float = 0.0
    missed_lately: float = 0.0
    unevenness: float = 1.0
    mean_over: float = 0.0
    panic_until: float | None = None
    foresight: Foresight = field(default_factory=Foresight)


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """How many replicas, and the numbers that led there. `laws` are (law, replicas it asked for) pairs.

    Demand, forecast and capacity (of one replica, at the objectives) are generated tokens per second;
    latencies are at the objectives' percentile, None where too few requests show them. `foreseen_by` says
    which forecast is trusted, empty for none: demand is then taken to stay as it is.
    """

    desired: int
    reason: Reason
    laws: tuple[tuple[str, int], ...] = ()
    limited_by: str = ""
    queue: float = 0.0
    running: float = 0.0
    tokens_per_second: float = 0.0
    capacity_tokens_per_second: float = 0.0
    evidence: str = "fresh"
    demand_tokens_per_second: float = 0.0
    arrivals_per_second: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    ttft_seconds: float | None = None
    itl_seconds: float | None = None
    forecast_tokens_per_second: float = 0.0
    forecast_error_tokens_per_second: float = 0.0
    foreseen_by: str = ""
    utilization: float = 0.0
    cold_start_seconds: float = 0.0
    schedule: str = ""
    panic: bool = False


@dataclass(frozen=True, slots=True)
class CapacityMemory:
    """What capacity carries from pass to pass, all of it kept in status but `suspected`, which lasts minutes.

    `losses` are (offer, instant) pairs of interruptions and failed placements; `suspected` are those of the
    last interruptions, where others are likely to follow; `failures` are the instants at which replicas ended
    by themselves, for the backoff of their replacement.
    """

    losses: tuple[tuple[OfferKey, float], ...] = ()
    suspected: tuple[tuple[OfferKey, float], ...] = ()
    spot_short_since: float | None = None
    targets: tuple[tuple[CapacityType, int], ...] = field(default=())
    failures: tuple[float, ...] = ()
