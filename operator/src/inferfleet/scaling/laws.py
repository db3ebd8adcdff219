"""How many replicas the load asks for. Each law speaks alone; the largest answer wins.

All laws answer in total replicas from total load, never in factors of what was asked for: a factor compounds
while replicas start (aibrix#2670), and a per-replica mean mistaken for a total scales the wrong way.
"""

from __future__ import annotations

from collections.abc import Callable

from inferfleet.scaling.evidence import Load, round_up
from inferfleet.scaling.rules import Rules

Law = Callable[[Load, Rules], int]

DRAIN_SECONDS = 30.0
"""A backlog is to be gone this soon after its replicas came, or within the objective if that is longer.

The replica-seconds that a backlog takes do not depend on how fast it is drained, but a shorter time than
this buys replicas that are idle before they are needed.
"""

MOST_BY_TTFT, MOST_BY_ITL = 1.25, 2.0
"""Inter-token latency grows about as the batch does; time to first token grows without bound at the edge of
the capacity, so how far it is above its objective does not tell how much is missing."""

TOLERANCE = 1.1
"""Latencies this little above the objectives buy nothing at once; what one replica can take is corrected."""


def queue_depth(load: Load, rules: Rules) -> int:
    """Enough replicas that all who wait would be in a batch, once more wait at each than is tolerated.

    A replica that is starting will take a full batch out of the queue, and with the others what they have to
    spare over a cold start: with that credit the queue must still be too long before even more are asked for.
    For as long again after it came the credit runs out bit by bit: behind a Service what waited at others
    stays there, and only arrivals come to it.
    """
    if load.waiting <= rules.tolerated_queue * load.ready:
        return round_up(load.waiting / rules.tolerated_queue)
    asked = load.underway
    left = load.cold_start_seconds - (0.0 if load.starting else load.joined_seconds)
    if left > 0:
        spared = _spare_tokens(load, left) / load.output_tokens if load.output_tokens > 0 else 0.0
        if load.waiting - max(load.starting * load.slots, spared) <= rules.tolerated_queue * asked:
            return asked
    batch = load.slots or rules.tolerated_queue
    return max(asked, round_up((load.waiting + load.running) / batch))


def _spare_tokens(load: Load, seconds: float) -> float:
    """What those that serve and those on their way will make in that time beyond what is asked for."""
    able = (load.ready + load.starting) * load.capacity_tokens_per_second
    return max(0.0, able - load.demand_tokens_per_second) * seconds


def token_rate(load: Load, rules: Rules) -> int:
    """Arrivals and backlog in tokens over what one replica takes at the objectives.

    What those on their way will have to spare over a cold start is taken off the backlog first.
    """
    backlog = max(0.0, load.waiting * load.output_tokens - _spare_tokens(load, load.cold_start_seconds))
    drain = max(DRAIN_SECONDS, load.ttft_objective_seconds or 0.0)
    return _replicas(load, rules, load.demand_tokens_per_second + backlog / drain)


def running_requests(load: Load, rules: Rules) -> int:
    """Batches over the batch of one replica, and caches over its cache, at the target utilisation.

    A queue is 0 until saturation; this law sees saturation come, and holds what a queue no longer asks for.
    """
    batches = min(load.running, load.in_system_lately) / load.slots if load.slots > 0 else 0.0
    return round_up(max(batches, load.kv_usage) / rules.utilization)


def latency(load: Load, rules: Rules) -> int:
    """As many times more replicas than served as latencies at the percentile are above the objectives.

    They are latencies of the past. So those in service now are multiplied, never those asked for; a time to
    first token counts only while the queue does not become shorter, for else it is being served
    already; and a replica that has little to do is not slow for want of others.
    """
    del rules
    if not load.is_loaded:
        return 0
    late = 0.0 if load.easing else min(load.latency.lasting_ttft, MOST_BY_TTFT)
    over = max(late, min(load.latency.lasting_itl, MOST_BY_ITL))
    return min(round_up(load.ready * over), round_up(load.in_system)) if over > TOLERANCE else 0


def burst(load: Load, rules: Rules) -> int:
    """What the arrivals of the last seconds ask for, once that is twice what serves: panic."""
    wanted = _replicas(load, rules, load.burst_per_second * load.output_tokens)
    return wanted if wanted >= 2 * max(1, load.ready) else 0


def forecast(load: Load, rules: Rules) -> int:
    """What is seen a cold start ahead, and as much room as that has been wrong by."""
    demand, ahead = load.demand_tokens_per_second, load.forecast_tokens_per_second
    growth = ahead / demand if demand > 0 else 1.0
    return _replicas(load, rules, ahead, max(1.0, growth), load.forecast_error_tokens_per_second)


def level(load: Load, rules: Rules) -> int:
    """What the demand asks for alone, once no backlog is left."""
    return _replicas(load, rules, load.demand_tokens_per_second)


LAWS: tuple[tuple[str, Law], ...] = (
    ("queue", queue_depth),
    ("tokens", token_rate),
    ("running", running_requests),
    ("latency", latency),
    ("burst", burst),
    ("forecast", forecast),
)


def ask(load: Load, rules: Rules) -> tuple[tuple[str, int], ...]:
    """Every law's answer, by name."""
    return tuple((name, law(load, rules)) for name, law in LAWS)


def _replicas(
    load: Load, rules: Rules, tokens_per_second: float, growth: float = 1.0, error: float = 0.0
) -> int:
    """Replicas for a rate at the target utilisation, but never more than there are (or will be) requests.

    A few long streams take whatever speed there is, and another replica would find nothing to do.
    """
    enough = load.replicas_for(tokens_per_second, rules.utilization, error)
    return min(round_up(enough), round_up(load.in_system * growth))
