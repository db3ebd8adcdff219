"""How many replicas: evidence, then laws, then pace. State goes in and comes out as a value."""

from inferfleet.scaling.decide import Scope, decide
from inferfleet.scaling.flows import fresh, newest

__all__ = ["Scope", "decide", "fresh", "newest"]
