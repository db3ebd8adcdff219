"""What counts as an interruption, who leaves, and the one machine by which all leave."""

from inferfleet.disruption.accounting import count_lost
from inferfleet.disruption.classify import Sights, classify, is_message
from inferfleet.disruption.departures import Departure, Scene, ask_to_leave, find_departures
from inferfleet.disruption.drain import drain, put_into_service
from inferfleet.disruption.rollout import Rollout, backoff_seconds, record_failures
from inferfleet.disruption.signals import EVENT_REASONS
from inferfleet.disruption.victims import Victims, choose_victims

__all__ = [
    "EVENT_REASONS",
    "Departure",
    "Rollout",
    "Scene",
    "Sights",
    "Victims",
    "ask_to_leave",
    "backoff_seconds",
    "choose_victims",
    "classify",
    "count_lost",
    "drain",
    "find_departures",
    "is_message",
    "put_into_service",
    "record_failures",
]
