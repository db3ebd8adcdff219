"""A real Kubernetes cluster on one machine, without Docker."""

from inferfleet_local.cluster import Cluster, resolve
from inferfleet_local.errors import ClusterError, MissingError
from inferfleet_local.source import Source
from inferfleet_local.state import Flavour

__all__ = ["Cluster", "ClusterError", "Flavour", "MissingError", "Source", "resolve"]
