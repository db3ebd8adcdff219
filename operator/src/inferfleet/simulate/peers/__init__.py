"""The control laws of other systems, by the name under which `simulate --policy` knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from inferfleet.simulate.peers.aibrix import aibrix
from inferfleet.simulate.peers.concurrency import knative, kubeai
from inferfleet.simulate.peers.dynamo import dynamo_load, dynamo_throughput
from inferfleet.simulate.peers.horizontal import hpa_running, hpa_waiting, kaito, keda_queue, production_stack
from inferfleet.simulate.peers.rate import skyserve, static_peak
from inferfleet.simulate.peers.slo import llmd_slo
from inferfleet.simulate.peers.wva import wva_v1, wva_v2
from inferfleet.simulate.policy import Factory, Policy


@dataclass(frozen=True, slots=True)
class Law:
    """A law with one target that its users choose. `tuned_over` are targets from cautious to daring."""

    make: Callable[..., Policy]
    tuned_over: tuple[float, ...]

    def tuned(self, target: float, drain_seconds: float) -> Factory:
        """The law with another target, and a drain that loses nothing, so that the law alone is compared."""
        return partial(self.make, target=target, drain_seconds=drain_seconds)


_IN_FLIGHT = (4.0, 6.0, 8.0, 11.0, 16.0, 23.0, 32.0, 45.0, 64.0, 90.0, 128.0)
_WAITING = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)

LAWS: Final[Mapping[str, Law]] = {
    "hpa-waiting": Law(hpa_waiting, _WAITING),
    "hpa-running": Law(hpa_running, _IN_FLIGHT),
    "kpa": Law(knative, _IN_FLIGHT),
    "keda-queue": Law(keda_queue, _IN_FLIGHT),
    "kubeai": Law(kubeai, _IN_FLIGHT),
    "production-stack": Law(production_stack, _IN_FLIGHT),
    "kaito": Law(kaito, _WAITING),
    "aibrix-apa": Law(aibrix, (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    "wva-v1": Law(wva_v1, (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    "wva-v2": Law(wva_v2, _SHARES),
    "llmd-slo": Law(llmd_slo, _SHARES),
    "dynamo-throughput": Law(dynamo_throughput, _SHARES),
    "dynamo-load": Law(dynamo_load, _SHARES),
    "skyserve": Law(skyserve, _SHARES),
    "static-peak": Law(static_peak, _SHARES),
}

PEERS: Final[Mapping[str, Factory]] = {name: law.make for name, law in LAWS.items()}
"""Every law with its own defaults."""
