"""Where a cluster keeps its things, and what it remembers between commands."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferfleet_local.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME_LIMIT = 20


class Flavour(StrEnum):
    """What kind of cluster: a control plane with simulated nodes, or real nodes as well."""

    API = "api"
    NODES = "nodes"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one cluster; everything it makes on disk lies in them, in logs or in the cache."""

    name: str
    state_root: Path
    cache: Path

    @property
    def folder(self) -> Path:
        """All that belongs to this cluster alone; gone after teardown."""
        return self.state_root / self.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One folder with one log for each program."""
        return self.folder / "logs"

    @property
    def volumes(self) -> Path:
        """Folders of the host behind the ready-made persistent volumes."""
        return self.folder / "volumes"

    def node(self, node_name: str) -> Path:
        """What a real node keeps across restarts of its programs."""
        return self.folder / "nodes" / node_name

    def node_socket(self, node_name: str) -> Path:
        """The node's containerd, as seen from the host."""
        return self.node(node_name) / "containerd.sock"

    def node_images(self, node_name: str) -> Path:
        """The node's containerd root: in the cache, so that images survive a teardown."""
        return self.cache / "nodes" / node_name


def places(name: str, environ: Mapping[str, str] | None = None) -> Places:
    """Find the folders of a cluster by its name.

    Raises:
        ClusterError: The name would not fit into names of links, cgroups and folders.
    """
    environ = os.environ if environ is None else environ
    if not name or len(name) > NAME_LIMIT or not name.replace("-", "").isalnum() or name.lower() != name:
        raise ClusterError(
            f"cluster name {name!r}: use at most {NAME_LIMIT} lower-case letters, digits and dashes"
        )
    home = Path(environ.get("HOME") or Path.home())
    state = _base(environ, "INFERFLEET_STATE", "XDG_STATE_HOME", home / ".local" / "state")
    cache = _base(environ, "INFERFLEET_CACHE", "XDG_CACHE_HOME", home / ".cache")
    return Places(name=name, state_root=state, cache=cache)


def _base(environ: Mapping[str, str], own: str, xdg: str, default: Path) -> Path:
    if value := environ.get(own):
        return Path(value).absolute()
    return Path(environ.get(xdg) or default).absolute() / "inferfleet"


@dataclass(frozen=True, slots=True)
class Record:
    """What a cluster remembers; written before the things it names are made, so that a crash loses none."""

    flavour: Flavour
    source: str
    nodes: int = 0
    octet: int = 0
    made_folders: tuple[str, ...] = ()
    ready: bool = False

    def write(self, where: Places) -> Record:
        """Keep this, atomically."""
        where.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(where.folder / "cluster.json", json.dumps(asdict(self), indent=1))
        return self

    def but(self, where: Places, **changes: Any) -> Record:
        """Keep a changed copy."""
        return replace(self, **changes).write(where)


def read_record(where: Places) -> Record | None:
    """Return what the cluster remembers, or nothing where there is none."""
    try:
        raw = json.loads((where.folder / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return Record(
        flavour=Flavour(raw["flavour"]),
        source=raw["source"],
        nodes=raw["nodes"],
        octet=raw["octet"],
        made_folders=tuple(raw["made_folders"]),
        ready=raw["ready"],
    )


def forget(where: Places) -> None:
    """Remove the cluster's folder; the record goes last, so that an interrupted removal can go on."""
    if where.folder.exists():
        for entry in where.folder.iterdir():
            if entry.name == "cluster.json":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        shutil.rmtree(where.folder)


@contextmanager
def locked(where: Places) -> Iterator[None]:
    """Let one command at a time change a cluster."""
    where.state_root.mkdir(parents=True, exist_ok=True)
    with (where.state_root / f".{where.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file in one step, so that no reader and no crash sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)
