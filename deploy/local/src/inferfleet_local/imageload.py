"""Bringing an image's OCI layout into the containerd of nodes, with each byte written once for all nodes.

`ctr images import` copies every layer into a node's store and unpacks it there: 1.5 minutes and 10 GB of disk
a node for an engine of 5 GB. Nodes here share one disk, so instead
 - a layer's blob becomes a hard link to the layout's file, so that containerd finds it ingested;
 - a layer that another node has unpacked is not unpacked again: its files become hard links in a snapshot,
   prepared and committed as the unpacking would have done. Layers are never written to, so sharing is safe,
   and the kernel keeps the libraries of engines on several nodes in memory once.
Where links are impossible (another disk), containerd copies and unpacks as usual.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferfleet_local.errors import ClusterError
from inferfleet_local.run import run

NAMESPACE = "k8s.io"
IMAGE_NAME = "io.containerd.image.name"
GARBAGE_ROOT = "containerd.io/gc.root"
RECORD = "record.tar"
"""The layout's file that is imported once all blobs are in a node's store."""
IMPORT_SECONDS = 600
TRIES = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """What makes up an image, by digest (`sha256:...`)."""

    digest: str
    config: str
    layers: tuple[str, ...]
    chain: tuple[str, ...]
    """For each layer the name of the snapshot that holds it on top of those below."""

    @property
    def blobs(self) -> tuple[str, ...]:
        """Everything that a store must hold."""
        return (*self.layers, self.config, self.digest)


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """Name the snapshot of each layer (OCI image specification, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        below = f"{chain[-1]} " if chain else ""
        chain.append(
            f"sha256:{hashlib.sha256(f'{below}{diff_id}'.encode()).hexdigest()}" if chain else diff_id
        )
    return tuple(chain)


def blob(layout: Path, digest: str) -> Path:
    """Return the file of a blob."""
    return layout / "blobs" / digest.replace(":", "/")


def read_manifest(layout: Path) -> Manifest:
    """Read what makes up a layout's only image."""
    (described,) = json.loads((layout / "index.json").read_text())["manifests"]
    raw = json.loads(blob(layout, described["digest"]).read_text())
    config = json.loads(blob(layout, raw["config"]["digest"]).read_text())
    return Manifest(
        digest=described["digest"],
        config=raw["config"]["digest"],
        layers=tuple(layer["digest"] for layer in raw["layers"]),
        chain=chain_ids(config["rootfs"]["diff_ids"]),
    )


@dataclass(frozen=True, slots=True)
class Containerd:
    """A node's containerd, asked through its own client."""

    socket: Path

    def ctr(self, *words: str | Path) -> str:
        """Ask it something.

        Raises:
            ClusterError: It refuses, or does not answer.
        """
        command = ["ctr", "--address", self.socket, "--namespace", NAMESPACE, *words]
        return run(command, timeout_seconds=IMPORT_SECONDS)

    def images(self) -> dict[str, str]:
        """Return the digest of each image's manifest by the image's name."""
        rows = [line.split() for line in self.ctr("images", "ls").splitlines()[1:]]
        return {row[0]: row[2] for row in rows}

    def snapshots(self) -> frozenset[str]:
        """Return the names of what it has unpacked."""
        rows = [line.split() for line in self.ctr("snapshots", "ls").splitlines()[1:]]
        return frozenset(row[0] for row in rows if row[-1] == "Committed")

    def blobs(self) -> frozenset[str]:
        """Return the digests that its store holds."""
        return frozenset(self.ctr("content", "ls", "-q").split())

    def content_folder(self) -> Path:
        """Return the folder of its store."""
        words = self.ctr("plugins", "ls", "-d", "id==content").split()
        return Path(words[words.index("root") + 1])

    def ingest(self, layout: Path, digest: str) -> None:
        """Put a blob into its store; one that is linked into place beforehand is only registered."""
        source = blob(layout, digest)
        link(source, self.content_folder() / source.relative_to(layout))
        expected = ["--expected-digest", digest, "--expected-size", str(source.stat().st_size)]
        command = ["ctr", "--address", self.socket, "--namespace", NAMESPACE, "content", "ingest", *expected]
        with source.open("rb") as handle:
            done = subprocess.run(
                [*map(str, command), f"load-{digest}"],
                stdin=handle,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise ClusterError(f"{self.socket}: blob {digest} is not taken: {done.stderr.strip()[-500:]}")

    def snapshot_folder(self, name: str) -> Path:
        """Return the folder with a committed snapshot's own files."""
        key = f"look-{name}"
        mounts = self._mounts("view", key, name)
        self._forget(key)
        return own_folder(mounts)

    def adopt(self, name: str, parent: str | None, files: Path) -> None:
        """Commit a snapshot whose files are hard links to another node's."""
        key = f"adopt-{name}"
        target = own_folder(self._mounts("prepare", key, *([parent] if parent else [])))
        run(["cp", "--archive", "--link", f"{files}/.", target], timeout_seconds=IMPORT_SECONDS)
        self.ctr("snapshots", "commit", name, key)

    def _mounts(self, act: str, key: str, *parent: str) -> list[dict[str, Any]]:
        self._forget(key)  # left by a crash
        mounts: list[dict[str, Any]] = json.loads(self.ctr("snapshots", act, "--mounts", key, *parent))
        return mounts

    def _forget(self, key: str) -> None:
        """Remove a snapshot of ours, if it is there: containerd may collect a mere view as garbage."""
        try:
            self.ctr("snapshots", "rm", key)
        except ClusterError as error:
            if "not found" not in str(error):
                raise


def own_folder(mounts: Sequence[dict[str, Any]]) -> Path:
    """Return the folder of a snapshot's own files from how it is mounted.

    A writable snapshot has an upper folder, a view has its files topmost in the lower ones, and a snapshot
    without parent is bound as it is.
    """
    (mount,) = mounts
    if mount["Type"] == "bind":
        return Path(mount["Source"])
    options = dict(option.partition("=")[::2] for option in mount["Options"])
    return Path(options.get("upperdir") or options["lowerdir"].split(":")[0])


def link(source: Path, place: Path) -> bool:
    """Make a hard link, and tell whether it is there; not on another disk, where the caller copies."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.hardlink_to(source)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def load(layout: Path, reference: str, nodes: Sequence[Containerd]) -> int:
    """Bring an image into the nodes that lack it, and return how many did.

    Raises:
        ClusterError: A node refuses it.
    """
    manifest = read_manifest(layout)
    lacking = [node for node in nodes if node.images().get(reference) != manifest.digest]
    for node in lacking:
        donors = [
            other for other in nodes if other is not node and other not in lacking[lacking.index(node) :]
        ]
        _load_into(node, layout, manifest, donors)
    return len(lacking)


def _load_into(node: Containerd, layout: Path, manifest: Manifest, donors: Sequence[Containerd]) -> None:
    adopted = _adopt(node, manifest, donors)
    for attempt in range(1, TRIES + 1):
        present = node.blobs()
        for digest in manifest.blobs:
            if digest not in present:
                node.ingest(layout, digest)
        try:
            node.ctr("images", "import", layout / RECORD)
            break
        except ClusterError:
            # containerd may collect a blob between its registration and the import that refers to it
            if attempt == TRIES:
                raise
    for name in adopted:
        node.ctr("snapshots", "label", name, f"{GARBAGE_ROOT}=")


def _adopt(node: Containerd, manifest: Manifest, donors: Sequence[Containerd]) -> list[str]:
    """Take over layers that a donor has unpacked, from the lowest up; return those that are held for now.

    What `ctr` commits is held against garbage collection until the image refers to it.
    """
    adopted: list[str] = []
    own = node.snapshots()
    theirs = {donor: donor.snapshots() for donor in donors}
    for name, parent in zip(manifest.chain, (None, *manifest.chain), strict=False):
        if name in own:
            continue
        donor = next((it for it, names in theirs.items() if name in names), None)
        if donor is None or not _share_disk(donor.content_folder(), node.content_folder()):
            break
        node.adopt(name, parent, donor.snapshot_folder(name))
        adopted.append(name)
    return adopted


def _share_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
