"""The last scaling decision as users read it, and what of scaling must survive a restart of the operator."""

from __future__ import annotations

import base64
import zlib
from functools import lru_cache
from typing import Annotated, Final

from pydantic import Field

from inferfleet.api.resource import StatusPart, Text, Timestamp, maybe_instant, maybe_timestamp
from inferfleet.values import Foresight, ScalingDecision, ScalingMemory

WEEK: Final = 7 * 24 * 6
STEPS: Final = 255
UNSEEN: Final = -1.0
TINY: Final = 0.01


class LawStatus(StatusPart):
    """One scaling law and the replicas it asks for."""

    law: str
    """Its name."""
    replicas: int
    """Replicas it asks for."""


class ForesightStatus(StatusPart):
    """What the forecast has learned of demand, and how far off each forecast was."""

    week: Annotated[str, Field(max_length=2048)] = ""
    """Demand by ten minutes of the week (UTC, Monday first): bytes up to the peak, 0 unseen; zlib, base64."""
    peak_tokens_per_second: float = 0.0
    """The highest of them."""
    trend_error: float = 0.0
    """Mean absolute error of the trend, in tokens/s, over the last hour or so."""
    persistence_error: float = 0.0
    """The same of "it stays as it is", over the same marks."""
    season_error: float = 0.0
    """Mean absolute error of the season."""
    season_persistence_error: float = 0.0
    """The same of "it stays as it is", over the same marks."""
    trend_judged: int = 0
    """How often the trend was held against what came."""
    season_judged: int = 0
    """How often the season was."""


class ScalingStatus(StatusPart):
    """The last scaling decision with the numbers behind it, and what must survive a restart."""

    desired: int | None = None
    """Replicas wanted."""
    reason: str = ""
    """Why, for machines."""
    message: Text = ""
    """Why, for people."""
    laws: list[LawStatus] = []
    """What each law asked for; the largest wins."""
    limited_by: str = ""
    """The bound, window or rate limit that changed it."""
    evidence: str = ""
    """`fresh`, or what is missing: without evidence nothing is scaled down."""
    queue: float = 0.0
    """Waiting requests."""
    running: float = 0.0
    """Running requests."""
    arrivals_per_second: float = 0.0
    """Requests that came, over the last minute."""
    tokens_per_second: float = 0.0
    """Generated tokens/s, measured."""
    demand_tokens_per_second: float = 0.0
    """Generated tokens/s that the arrivals ask for."""
    forecast_tokens_per_second: float = 0.0
    """Demand a cold start ahead: by the forecasts that are trusted, as it is now where none is."""
    forecast_error_tokens_per_second: float = 0.0
    """How far off that was of late, on average."""
    foreseen_by: str = ""
    """The forecasts that are trusted now (trend, season): those that err no more than "it stays as it is"."""
    capacity_tokens_per_second: float = 0.0
    """Generated tokens/s that each replica can give at the objectives: learned, or the plan's."""
    utilization: float = 0.0
    """Share of that capacity that is planned for."""
    time_to_first_token_seconds: float | None = None
    """TTFT at the objectives' percentile over the last minute."""
    inter_token_latency_seconds: float | None = None
    """ITL at the objectives' percentile over the last minute."""
    cold_start_seconds: float = 0.0
    """Seconds from creation to Ready to reckon with: how far ahead the forecast looks."""
    schedule: str = ""
    """The schedules that set the bounds now."""
    panic: bool = False
    """True during a burst: nothing is scaled down."""
    tokens_per_second_per_replica: float | None = None
    """Learned capacity of one replica alone, none while it is the plan's."""
    predicted_tokens_per_second: float | None = None
    """What the plan predicted when that was learned."""
    busy_tokens_per_second: float | None = None
    """What a replica with a long queue made: the most that it can do."""
    prompt_tokens: float | None = None
    """Prompt tokens of the mean request."""
    output_tokens: float | None = None
    """Output tokens of the mean request."""
    unevenness: float = 1.0
    """How far apart the loads of replicas are: 1 as by chance, 0 where the least loaded gets the next."""
    cold_starts: list[float] = []
    """Seconds from creation to Ready of the last replicas."""
    foresight: ForesightStatus | None = None
    """What the forecast has learned."""
    changed_at: Timestamp | None = None
    """When the number of replicas last changed."""


def scaling_status(decision: ScalingDecision | None, memory: ScalingMemory) -> ScalingStatus:
    """Write a decision with its numbers, and the memory."""
    kept = ScalingStatus(
        desired=memory.desired,
        changed_at=maybe_timestamp(memory.changed_at),
        tokens_per_second_per_replica=_rounded(memory.tokens_per_second_per_replica),
        predicted_tokens_per_second=_rounded(memory.predicted_tokens_per_second),
        busy_tokens_per_second=_rounded(memory.busy_tokens_per_second),
        prompt_tokens=_rounded(memory.prompt_tokens),
        output_tokens=_rounded(memory.output_tokens),
        unevenness=round(memory.unevenness, 2),
        cold_starts=[round(seconds, 1) for seconds in memory.cold_starts],
        foresight=_foresight_status(memory.foresight),
    )
    if decision is None:
        return kept
    return kept.model_copy(
        update={
            "desired": decision.desired if memory.desired is None else memory.desired,
            "reason": decision.reason.code,
            "message": decision.reason.message,
            "laws": [LawStatus(law=law, replicas=replicas) for law, replicas in decision.laws],
            "limited_by": decision.limited_by,
            "evidence": decision.evidence,
            "queue": round(decision.queue, 1),
            "running": round(decision.running, 1),
            "arrivals_per_second": round(decision.arrivals_per_second, 2),
            "tokens_per_second": round(decision.tokens_per_second, 1),
            "demand_tokens_per_second": round(decision.demand_tokens_per_second, 1),
            "forecast_tokens_per_second": round(decision.forecast_tokens_per_second, 1),
            "forecast_error_tokens_per_second": round(decision.forecast_error_tokens_per_second, 1),
            "foreseen_by": decision.foreseen_by,
            "capacity_tokens_per_second": round(decision.capacity_tokens_per_second, 1),
            "utilization": round(decision.utilization, 2),
            "time_to_first_token_seconds": _rounded(decision.ttft_seconds, 3),
            "inter_token_latency_seconds": _rounded(decision.itl_seconds, 4),
            "cold_start_seconds": round(decision.cold_start_seconds, 1),
            "schedule": decision.schedule,
            "panic": decision.panic,
        }
    )


def scaling_memory(scaling: ScalingStatus) -> ScalingMemory:
    """Read back what `scaling_status` wrote."""
    return ScalingMemory(
        desired=scaling.desired,
        changed_at=maybe_instant(scaling.changed_at),
        tokens_per_second_per_replica=scaling.tokens_per_second_per_replica,
        predicted_tokens_per_second=scaling.predicted_tokens_per_second,
        busy_tokens_per_second=scaling.busy_tokens_per_second,
        prompt_tokens=scaling.prompt_tokens,
        output_tokens=scaling.output_tokens,
        unevenness=scaling.unevenness,
        cold_starts=tuple(scaling.cold_starts),
        foresight=_foresight(scaling.foresight) if scaling.foresight else Foresight(),
    )


@lru_cache(maxsize=256)
def _foresight_status(known: Foresight) -> ForesightStatus | None:
    """Write what was learned of demand; level and trend are of the moment, and stay behind."""
    if not known.week:
        return None
    peak = max(*known.week, TINY)
    week = bytes(0 if value < 0 else 1 + round(value / peak * (STEPS - 1)) for value in known.week)
    errors = [round(error, 2) for error in known.errors]
    return ForesightStatus(
        week=base64.b64encode(zlib.compress(week, 9)).decode(),
        peak_tokens_per_second=round(peak, 2),
        persistence_error=errors[0],
        trend_error=errors[1],
        season_persistence_error=errors[2],
        season_error=errors[3],
        trend_judged=known.judged[0],
        season_judged=known.judged[1],
    )


def _foresight(told: ForesightStatus) -> Foresight:
    """Read it back; a week that is none is forgotten."""
    try:
        week = zlib.decompressobj().decompress(base64.b64decode(told.week, validate=True), WEEK + 1)
    except (ValueError, zlib.error):
        return Foresight()
    peak = told.peak_tokens_per_second
    return Foresight(
        week=tuple(UNSEEN if byte == 0 else (byte - 1) / (STEPS - 1) * peak for byte in week)
        if len(week) == WEEK
        else (),
        errors=(
            told.persistence_error,
            told.trend_error,
            told.season_persistence_error,
            told.season_error,
        ),
        judged=(told.trend_judged, told.season_judged),
    )


def _rounded(number: float | None, digits: int = 1) -> float | None:
    return None if number is None else round(number, digits)
