"""What counts as an interruption, who leaves, and the one machine by which all leave."""

from inferfleet.disruption.accounting import Books, Losses, add_losses, describe, settle
from inferfleet.disruption.classify import Sights, classify, is_message
from inferfleet.disruption.departures import Departure, Scene, ask_to_leave, find_departures
from inferfleet.disruption.drain import drain, put_into_service
from inferfleet.disruption.protection import Idle, protect
from inferfleet.disruption.rollout import Rollout, backoff_seconds, record_failures
from inferfleet.disruption.signals import EVENT_REASONS
from inferfleet.disruption.silence import find_silent, take_out
from inferfleet.disruption.victims import Victims, choose_victims

__all__ = [
    "EVENT_REASONS",
    "Books",
    "Departure",
    "Idle",
    "Losses",
    "Rollout",
    "Scene",
    "Sights",
    "Victims",
    "add_losses",
    "ask_to_leave",
    "backoff_seconds",
    "choose_victims",
    "classify",
    "describe",
    "drain",
    "find_departures",
    "find_silent",
    "is_message",
    "protect",
    "put_into_service",
    "record_failures",
    "settle",
    "take_out",
]
