"""Kubernetes objects from plans: pure, deterministic, byte-identical for an identical plan."""

from inferfleet.manifests.inspection import render_inspection_pod
from inferfleet.manifests.node_pool import render_node_pool
from inferfleet.manifests.objects import render_objects
from inferfleet.manifests.worker import render_worker

__all__ = ["render_inspection_pod", "render_node_pool", "render_objects", "render_worker"]
