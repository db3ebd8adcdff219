"""A control group for each real node, under which its kubelet puts the pods."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local.errors import ClusterError
from inferfleet_local.processes import await_true

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path("/sys/fs/cgroup")
COPIED = ("cpuset.mems", "cpuset.cpus")
PREFIX = "ifleet."


def group_name(cluster: str, node: str) -> str:
    """Return a group's name; no underscore, which kubelet refuses."""
    return f"{PREFIX}{cluster}.{node}"


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Return the mounted hierarchies: one for version 2, one for each controller for version 1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted({path.resolve() for path in root.iterdir() if (path / "cgroup.procs").exists()})


def make(name: str, root: Path = ROOT) -> None:
    """Make a group in every hierarchy, with all that its children may be given."""
    for hierarchy in hierarchies(root):
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in COPIED:
            # version 1 leaves these empty in a new group, and no process may join one without
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())
        if (group / "cgroup.subtree_control").exists():
            controllers = (group / "cgroup.controllers").read_text().split()
            with suppress(OSError):
                (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def remove_all(cluster: str, root: Path = ROOT) -> None:
    """Remove every group of a cluster.

    Raises:
        ClusterError: A process is still in one.
    """
    if not root.exists():
        return
    groups = [group for hierarchy in hierarchies(root) for group in hierarchy.glob(f"{PREFIX}{cluster}.*")]
    if not await_true(lambda: _removed(groups), timeout_seconds=10):
        raise ClusterError(f"control groups {[str(group) for group in groups if group.exists()]} are in use")


def _removed(groups: Iterable[Path]) -> bool:
    for group in groups:
        for folder in [*sorted(group.rglob("*/"), reverse=True), group]:
            if folder.is_dir():
                with suppress(OSError):
                    folder.rmdir()
    return not any(group.exists() for group in groups)
