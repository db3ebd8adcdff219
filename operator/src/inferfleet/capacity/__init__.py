"""Which offers serve the replicas: reserved, spot, on-demand; zones; fallback; cost."""

from inferfleet.capacity.allocate import Allocation, Need, Placement, allocate, stuck, without_node
from inferfleet.capacity.cost import dollars_per_hour, dollars_per_million_tokens, price_of
from inferfleet.capacity.offers import key_of
from inferfleet.capacity.prices import with_prices

__all__ = [
    "Allocation",
    "Need",
    "Placement",
    "allocate",
    "dollars_per_hour",
    "dollars_per_million_tokens",
    "key_of",
    "price_of",
    "stuck",
    "with_prices",
    "without_node",
]
