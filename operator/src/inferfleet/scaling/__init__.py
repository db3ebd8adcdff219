"""How many replicas: evidence, then laws, then pace. State goes in and comes out as a value."""

from inferfleet.scaling.decide import Scope, decide
from inferfleet.scaling.evidence import STALE_SECONDS, fresh_samples, measured_tokens_per_second

__all__ = ["STALE_SECONDS", "Scope", "decide", "fresh_samples", "measured_tokens_per_second"]
