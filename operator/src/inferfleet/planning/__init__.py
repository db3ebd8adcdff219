"""Choose how one replica runs: model facts, pools, memory, speed, search. No clock, no network, no log."""

from inferfleet.planning.accelerators import ACCELERATORS, find_accelerator, unknown_accelerator
from inferfleet.planning.catalogue import catalogue_facts, catalogue_ids
from inferfleet.planning.choose import plan_layout
from inferfleet.planning.config_reader import ModelFactsError
from inferfleet.planning.facts import model_facts
from inferfleet.planning.feedback import correct, repredict, still_valid
from inferfleet.planning.pools import discover_pools
from inferfleet.planning.prices import default_price
from inferfleet.planning.purchases import Purchase, expect_purchase
from inferfleet.planning.tensors import Tensor

__all__ = [
    "ACCELERATORS",
    "ModelFactsError",
    "Purchase",
    "Tensor",
    "catalogue_facts",
    "catalogue_ids",
    "correct",
    "default_price",
    "discover_pools",
    "expect_purchase",
    "find_accelerator",
    "model_facts",
    "plan_layout",
    "repredict",
    "still_valid",
    "unknown_accelerator",
]
