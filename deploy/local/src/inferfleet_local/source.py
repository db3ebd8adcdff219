"""Which cluster to use: one that the user already has goes before one that is built here."""

from __future__ import annotations

import shutil
from enum import StrEnum
from typing import TYPE_CHECKING

from inferfleet_local.errors import ClusterError
from inferfleet_local.run import run
from inferfleet_local.state import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Source(StrEnum):
    """Where a cluster comes from, in the order in which they are tried; the values are what is printed."""

    KUBECONFIG = "the cluster of KUBECONFIG (INFERFLEET_USE_KUBECONFIG=1)"
    ASSETS = "a control plane from the programs in KUBEBUILDER_ASSETS"
    KIND = "a kind cluster (INFERFLEET_USE_KIND=1)"
    BUILT = "a cluster of our own programs"


def choose(flavour: Flavour, environ: Mapping[str, str], engine_answers: Callable[[], bool]) -> Source:
    """Choose the source of a cluster.

    Args:
        flavour: What is needed; programs in `KUBEBUILDER_ASSETS` suffice for a control plane only.
        environ: The user's environment.
        engine_answers: Whether kind and a container engine are there; asked only if kind is wanted.

    Raises:
        ClusterError: The user asked for something that is not there.
    """
    if environ.get("INFERFLEET_USE_KUBECONFIG") == "1":
        if not environ.get("KUBECONFIG"):
            raise ClusterError("INFERFLEET_USE_KUBECONFIG=1, but KUBECONFIG is not set")
        return Source.KUBECONFIG
    if flavour is Flavour.API and environ.get("KUBEBUILDER_ASSETS"):
        return Source.ASSETS
    if environ.get("INFERFLEET_USE_KIND") == "1":
        if not engine_answers():
            raise ClusterError(
                "INFERFLEET_USE_KIND=1, but kind is not on PATH or no container engine answers"
            )
        return Source.KIND
    return Source.BUILT


def container_engine_answers() -> bool:
    """Tell whether kind can be used here."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    try:
        run(["docker", "info"], timeout_seconds=10)
    except ClusterError:
        return False
    return True
