"""Peers that scale on the engines' gauges through the HorizontalPodAutoscaler, as their users are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from inferfleet.simulate.peers.hpa import SYNC_SECONDS, Behavior, Controller, Rate, from_pods, from_total
from inferfleet.simulate.peers.signals import Counters, ceil, running, tokens, waiting
from inferfleet.simulate.policy import Seen, Setting
from inferfleet.values import EngineSample


@dataclass(slots=True)
class PodsMetric:
    """HPA on the mean of a gauge over pods.

    `waiting`: the production-stack's Helm chart, more than 5 waiting requests per replica, HPA's default
    behaviour (Google's guide for GKE starts at 3 to 5). `running`: the same guide's batch size for tighter
    latency.
    """

    name: str
    target: float
    gauge: Callable[[EngineSample], float]
    controller: Controller
    drain_seconds: float
    period_seconds: float = SYNC_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One sync of the controller."""
        values = [self.gauge(sample) for sample in seen.samples]
        missing = seen.ready - len(values)
        answer = None
        if values:
            answer = from_pods(seen.desired, values, self.target, missing=missing, unready=seen.pending)
        return self.controller.recommend(now, seen.desired, [answer])


def hpa_waiting(setting: Setting, target: float = 5.0, drain_seconds: float = 0.0) -> PodsMetric:
    """`vllm:num_requests_waiting` per pod."""
    controller = Controller(setting.min_replicas, setting.max_replicas)
    return PodsMetric("hpa-waiting", target, lambda sample: sample.waiting, controller, drain_seconds)


def hpa_running(setting: Setting, target: float = 16.0, drain_seconds: float = 0.0) -> PodsMetric:
    """`vllm:num_requests_running` per pod. No default is published; 16 is that of the llm-d guide."""
    controller = Controller(setting.min_replicas, setting.max_replicas)
    return PodsMetric("hpa-running", target, lambda sample: sample.running, controller, drain_seconds)


KEDA_BEHAVIOR = Behavior(up=(Rate(15.0, share=1.0),))


@dataclass(slots=True)
class KedaQueue:
    """llm-d's guide for KEDA with the endpoint picker: 1 queued and 16 running per replica, the larger wins.

    Both are external metrics with an average value, so totals over the whole pool. Up at once, doubling every
    15 s at most; down by the largest recommendation of 300 s. Inferred: the picker's flow-control queue is
    taken to be the engines' queues, for the simulated gateway sends on at once.
    """

    controller: Controller
    target_running: float
    drain_seconds: float
    target_queued: float = 1.0
    name: str = "keda-queue"
    period_seconds: float = SYNC_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One poll."""
        queued = from_total(seen.desired, waiting(seen), self.target_queued)
        batched = from_total(seen.desired, running(seen), self.target_running)
        return self.controller.recommend(now, seen.desired, [queued, batched])


def keda_queue(setting: Setting, target: float = 16.0, drain_seconds: float = 30.0) -> KedaQueue:
    """The target is running requests per replica; the guide drains 30 s."""
    controller = Controller(setting.min_replicas, setting.max_replicas, KEDA_BEHAVIOR)
    return KedaQueue(controller, target, drain_seconds)


PRODUCTION_STACK_BEHAVIOR = Behavior(up=(Rate(60.0, pods=1),), down=(Rate(60.0, pods=1),))
RATE_SECONDS = 60.0


@dataclass(slots=True)
class ProductionStack:
    """vLLM production-stack's operator: KEDA, the largest of running, generated and prompt tokens/s per pod.

    5 running, 100 generated and 100 prompt tokens per second per pod; one replica more or less a minute, down
    after 300 s. Inferred: rates over one minute; the keep-alive trigger only guards against zero, which no
    comparison here allows. A tuned target moves all three thresholds by the same factor.
    """

    controller: Controller
    target_running: float
    target_tokens_per_second: float
    drain_seconds: float
    counters: Counters = field(default_factory=lambda: Counters(RATE_SECONDS))
    name: str = "production-stack"
    period_seconds: float = SYNC_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One poll."""
        self.counters.add(now, tokens(seen))
        prompt, generated, *_ = self.counters.rate() or (0.0, 0.0)
        answers = [
            from_total(seen.desired, running(seen), self.target_running),
            from_total(seen.desired, generated, self.target_tokens_per_second),
            from_total(seen.desired, prompt, self.target_tokens_per_second),
        ]
        return self.controller.recommend(now, seen.desired, answers)


def production_stack(setting: Setting, target: float = 5.0, drain_seconds: float = 0.0) -> ProductionStack:
    """The target is running requests per pod."""
    controller = Controller(setting.min_replicas, setting.max_replicas, PRODUCTION_STACK_BEHAVIOR)
    return ProductionStack(controller, target, 20.0 * target, drain_seconds)


KAITO_BEHAVIOR = Behavior(up_window_seconds=60.0, up=(Rate(300.0, pods=1),), down=(Rate(300.0, pods=1),))
KAITO_DOWN_SHARE = 0.1


@dataclass(slots=True)
class Kaito:
    """KAITO's scaler: doubles if all metrics are above the up-threshold and all are ready; halves below.

    Its README's metric and threshold: waiting requests, 10 per replica. HPA acts on it: up after 60 s and by
    one in 300 s, down by one in 300 s. Inferred: the lower threshold is a tenth of the upper one, for no
    default is published.
    """

    controller: Controller
    target: float
    drain_seconds: float
    name: str = "kaito"
    period_seconds: float = SYNC_SECONDS

    def replicas(self, seen: Seen, now: float) -> int:
        """One poll."""
        if not seen.samples:
            return self.controller.recommend(now, seen.desired, [None])
        mean = waiting(seen) / len(seen.samples)
        return self.controller.recommend(now, seen.desired, [double_or_halve(seen, mean, self.target)])


def double_or_halve(seen: Seen, mean: float, threshold: float) -> int:
    """The wish before HPA's pace."""
    if mean > threshold and seen.ready >= seen.desired:
        return 2 * seen.desired
    if mean < threshold * KAITO_DOWN_SHARE:
        return ceil(seen.desired * 0.5)
    return seen.desired


def kaito(setting: Setting, target: float = 10.0, drain_seconds: float = 0.0) -> Kaito:
    """The target is the up-threshold of waiting requests per replica."""
    return Kaito(
        Controller(setting.min_replicas, setting.max_replicas, KAITO_BEHAVIOR), target, drain_seconds
    )
