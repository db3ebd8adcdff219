"""Debian packages that the cluster needs: installed when that is possible, else named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local.errors import MissingError
from inferfleet_local.run import environment, run_logged
from inferfleet_local.state import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CNI_PLUGINS = Path("/usr/lib/cni")

# program (or file) that must be there -> the Debian package that has it
OF_NODES = {
    "containerd": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS / "ptp"): "containernetworking-plugins",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
}
OF_API: dict[str, str] = {}


def needed(flavour: Flavour, present: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the packages that are missing for a flavour, sorted."""
    wanted = OF_NODES if flavour is Flavour.NODES else OF_API
    return tuple(sorted({package for program, package in wanted.items() if not present(program)}))


def is_present(program: str) -> bool:
    """Tell whether a program is on PATH or in the system's folders, or a file exists."""
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=environment()["PATH"]) is not None


def ensure(flavour: Flavour, log: Path) -> tuple[str, ...]:
    """Install what is missing and return its names; nothing happens when all is there."""
    return install(needed(flavour, is_present), log)


def install(packages: Iterable[str], log: Path) -> tuple[str, ...]:
    """Install Debian packages and return their names.

    Raises:
        MissingError: It cannot be done here; the message is the command to run.
    """
    names = tuple(packages)
    if not names:
        return ()
    command = f"apt-get install --no-install-recommends {' '.join(names)}"
    if os.geteuid() != 0:
        raise MissingError(f"missing: {', '.join(names)}. Install them as root: {command}")
    if shutil.which("apt-get") is None:
        raise MissingError(f"missing: {', '.join(names)} (Debian's names), and there is no apt-get here")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    run_logged([*apt, "update"], log, env=quiet)
    run_logged([*apt, "install", "-y", "--no-install-recommends", *names], log, env=quiet)
    return names
