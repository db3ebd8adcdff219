"""Demand a cold start ahead: by its trend, and by the time of day and week; trusted only while it is better.

A forecast that is worse than "it stays as it is" only buys replicas for nothing, so each is judged against
that, over about the last hour, and is silent while it loses. All state is one small value.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

from inferfleet.values import Foresight
from inferfleet.values.frozen import replace

MARK_SECONDS = 60.0
"""Demand is noted this often."""

GAP_SECONDS = 300.0
"""After a longer silence than this a trend is no trend any more."""

JUDGED_MARKS = 60
"""Errors are means over about so many marks, an hour of them: a forecast that loses over it is off."""

LEAST_JUDGED = 10
"""Before so many judgements nothing is trusted."""

HARDLY = 0.01
"""A difference of this share of the demand is none."""

LEVEL_GAIN = 0.3
TREND_GAIN = 0.2
WEEK_GAIN = 0.15
"""Gains of exponential smoothing. The level is one over minutes, for what it decides takes effect no sooner,
and a shorter one buys replicas for chance. The last one leaves a week about a fifth of its weight after ten
marks."""

LEAP = 4.0
"""A minute so many standard deviations from what was expected is a new level: chance does that once in days.
The trend takes in no more of it than that, or it overshoots for a quarter of an hour."""

DEVIATION = sqrt(pi / 2)
"""So many mean absolute errors are a standard deviation, where they are normal."""

BUCKET_SECONDS = 600
BUCKETS = 7 * 24 * 6
DAY_BUCKETS = 24 * 6
UNSEEN = -1.0
EPOCH_BUCKET = 3 * DAY_BUCKETS
"""1970-01-01 was a Thursday."""

MOST_GROWTH = 4.0
"""A forecast of more than this over one cold start tells of a nearly empty bucket, or of nearly no load."""


def note(
    known: Foresight, demand: float, request_tokens: float, horizon_seconds: float, now: float
) -> Foresight:
    """Note the demand of a minute of such requests: learn, judge what was promised for now, promise anew.

    Promises are of the level and held against it: what a single minute has by chance nobody could foresee.
    """
    passed = MARK_SECONDS if known.marked_at is None else now - known.marked_at
    if passed < MARK_SECONDS:
        return known
    level, trend = demand, 0.0
    if known.marked_at is not None and passed <= GAP_SECONDS:
        level, trend = _follow(known, demand, request_tokens, passed)
    learned = replace(
        _judge(known, level, now),
        marked_at=now,
        level=level,
        trend=trend,
        week=_learn_week(known.week, demand, now),
    )
    promise = (
        now + horizon_seconds,
        level,
        by_trend(learned, level, horizon_seconds),
        by_season(learned, level, now, horizon_seconds),
    )
    return replace(learned, promises=(*learned.promises, promise))


@dataclass(frozen=True, slots=True)
class Ahead:
    """The most demand until the horizon, its mean absolute error of late, and which forecasts say so.

    All are 0 until errors are known; while no forecast is trusted (`by` is empty), demand stays as it is.
    """

    demand: float = 0.0
    error: float = 0.0
    by: str = ""


def foresee(known: Foresight, demand: float, horizon_seconds: float, now: float) -> Ahead:
    """What those forecasts see that are trusted, and how far off the one with the most demand is usually."""
    answers = []
    if trusts(known, 0):
        answers.append((by_trend(known, demand, horizon_seconds), known.errors[1], "trend"))
    elif known.judged[0] >= LEAST_JUDGED:
        answers.append((demand, known.errors[0], ""))
    if trusts(known, 1):
        ahead = [by_season(known, demand, now, horizon_seconds * part) or 0.0 for part in (0.5, 1.0)]
        answers.append((max(ahead), known.errors[3], "season"))
    most, error, _ = max(answers, default=(0.0, 0.0, ""))
    return Ahead(min(most, MOST_GROWTH * demand), error, ", ".join(name for *_, name in answers if name))


def level(known: Foresight, now: float) -> float | None:
    """Demand as it is over minutes, without the chance of the last one; None where that is not known."""
    if known.marked_at is None or now - known.marked_at > GAP_SECONDS:
        return None
    return max(0.0, known.level + known.trend * (now - known.marked_at))


def trusts(known: Foresight, which: int) -> bool:
    """True while the trend (0) errs less than persistence does, or the season (1) hardly more.

    A trend that is no better only buys for chance. A season pays once a day: all night it need do no harm.
    """
    judged, errors = known.judged[which], known.errors
    persistence, own = errors[2 * which : 2 * which + 2]
    more = HARDLY * known.level if which else 0.0
    return judged >= LEAST_JUDGED and own <= persistence + more


def by_trend(known: Foresight, demand: float, horizon_seconds: float) -> float:
    """Demand after the horizon if it goes on as it went (Holt's linear method)."""
    return max(0.0, demand + known.trend * horizon_seconds)


def by_season(known: Foresight, demand: float, now: float, horizon_seconds: float) -> float | None:
    """Demand after the horizon if it changes as it did at this time; None while that is not known."""
    here, there = _at(known.week, now), _at(known.week, now + horizon_seconds)
    if here is None or there is None or here <= 0:
        return None
    return demand * min(MOST_GROWTH, there / here)


def _follow(known: Foresight, demand: float, request_tokens: float, passed: float) -> tuple[float, float]:
    """Level and trend after so many seconds (Holt's); where demand leaps, the level is there at once.

    What is usual is told by chance (a Poisson count) and by how far off the level was of late: requests come
    in clumps, too. Until that is known nothing is a leap.
    """
    expected = known.level + known.trend * passed
    surprise = usual = demand - expected
    if known.judged[0] >= LEAST_JUDGED:
        chance = sqrt(max(demand, expected) * request_tokens / MARK_SECONDS)
        most = LEAP * max(chance, DEVIATION * known.errors[0])
        usual = max(-most, min(most, surprise))
    level = expected + LEVEL_GAIN * surprise if surprise == usual else demand
    return level, known.trend + TREND_GAIN * LEVEL_GAIN * usual / passed


def _judge(known: Foresight, demand: float, now: float) -> Foresight:
    """Hold what was promised for now against what came."""
    due = [promise for promise in known.promises if promise[0] <= now]
    errors, judged = known.errors, known.judged
    for at, base, trend, season in due:
        if now - at > GAP_SECONDS:
            continue
        errors = (
            _mean(errors[0], abs(demand - base), judged[0]),
            _mean(errors[1], abs(demand - trend), judged[0]),
            _mean(errors[2], abs(demand - base), judged[1]) if season is not None else errors[2],
            _mean(errors[3], abs(demand - season), judged[1]) if season is not None else errors[3],
        )
        judged = (judged[0] + 1, judged[1] + (season is not None))
    ahead = tuple(promise for promise in known.promises if promise[0] > now)
    return replace(known, promises=ahead, errors=errors, judged=judged)


def _mean(mean: float, value: float, count: int) -> float:
    """A mean that forgets: plain at first, exponential later."""
    return mean + (value - mean) / min(count + 1, JUDGED_MARKS)


def _learn_week(week: tuple[float, ...], demand: float, now: float) -> tuple[float, ...]:
    known = week or (UNSEEN,) * BUCKETS
    index = _bucket(now)
    before = known[index]
    value = demand if before < 0 else before + WEEK_GAIN * (demand - before)
    return (*known[:index], value, *known[index + 1 :])


def _bucket(at: float) -> int:
    return (int(at // BUCKET_SECONDS) + EPOCH_BUCKET) % BUCKETS


def _at(week: tuple[float, ...], at: float) -> float | None:
    """The season at an instant, linear between the middles of its ten minutes."""
    if not week:
        return None
    position = at / BUCKET_SECONDS - 0.5
    first = int(position // 1)
    share = position - first
    one, other = _seen(week, first), _seen(week, first + 1)
    if one is None or other is None:
        return None
    return one + share * (other - one)


def _seen(week: tuple[float, ...], number: int) -> float | None:
    """Ten minutes of the week; until they were seen, the mean of the same time on the days that were."""
    index = (number + EPOCH_BUCKET) % BUCKETS
    if week[index] >= 0:
        return week[index]
    days = [value for value in week[index % DAY_BUCKETS :: DAY_BUCKETS] if value >= 0]
    return sum(days) / len(days) if days else None
