"""The cluster's images, built without a container engine from the Dockerfiles that users build with one.

Each image ends as an OCI layout in the cache (a folder of blobs named by digest, with an index), under a key:
the hash of everything that goes into the image. Same key, nothing to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from inferfleet_local import imagebuild, imageload, packages
from inferfleet_local.errors import ClusterError, MissingError
from inferfleet_local.image import GIB, IMAGES, MIB, PAUSE, Image


def ensure(
    names: Sequence[str], *, checkout: Path, cache: Path, log: Path, say: Callable[[str], None]
) -> Mapping[str, Path]:
    """Build the named images whose inputs changed, and the pause image, and return each one's OCI layout.

    Args:
        names: Keys of `IMAGES`.
        checkout: The repository's root.
        cache: Where layouts, the base image and build steps are kept.
        log: Where the tools' output goes.
        say: Told of each image that is built.

    Raises:
        MissingError: A tool is missing and cannot be installed, or the disk is too small.
        ClusterError: A build failed; the message names the log.
    """
    # the key is taken before the build: a file that changes meanwhile makes the image stale, not wrong
    layouts = {image: layout_of(image, checkout, cache) for image in _select(names)}
    builder = imagebuild.Builder(cache / "images", log)
    with _locked(cache):
        stale = [image for image, layout in layouts.items() if not layout.exists()]
        if stale:
            needed = imagebuild.PROGRAMS
            packages.install([needed[it] for it in needed if not packages.is_present(it)], log)
            builder.sweep()
            check_space(stale, shutil.disk_usage(cache).free)
        for image in stale:
            begun = time.monotonic()
            builder.build(image, checkout, layouts[image])
            mebibytes = sum(blob.stat().st_size for blob in layouts[image].glob("blobs/sha256/*")) / MIB
            say(f"image {image.name}: built in {time.monotonic() - begun:.0f} s, {mebibytes:,.0f} MiB")
    return {image.name: layout for image, layout in layouts.items()}


def load(
    names: Sequence[str],
    node_sockets: Sequence[Path],
    *,
    checkout: Path,
    cache: Path,
    log: Path,
    say: Callable[[str], None],
) -> None:
    """Bring the named images and the pause image into each node that lacks them.

    Args:
        names: Keys of `IMAGES`.
        node_sockets: The containerd of each node.
        checkout: The repository's root.
        cache: Where `ensure` left the layouts.
        log: Where a failed build left its output; named in messages.
        say: Told of each image that is loaded.

    Raises:
        ClusterError: An image is not built, or a node refuses it.
    """
    nodes = [imageload.Containerd(socket) for socket in node_sockets]
    for image in _select(names):
        built = imagebuild.layouts(cache / "images", image.name)
        if not built:
            raise ClusterError(f"image {image.name} is not built (log {log})")
        layout = built[-1]
        if layout != layout_of(image, checkout, cache):
            say(f"image {image.name}: the checkout has changed since it was built")
        begun = time.monotonic()
        if loaded := imageload.load(layout, image.reference, nodes):
            say(f"image {image.name}: loaded into {loaded} node(s) in {time.monotonic() - begun:.1f} s")


def _select(names: Sequence[str]) -> list[Image]:
    if unknown := set(names) - set(IMAGES):
        raise ClusterError(f"no image {sorted(unknown)}: there are {sorted(IMAGES)}")
    return [IMAGES[name] for name in dict.fromkeys((PAUSE.name, *names))]


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Let one process at a time build."""
    folder = cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def check_space(images: Sequence[Image], free_bytes: int) -> None:
    """Make sure that the builds fit on the disk.

    Raises:
        MissingError: They do not; the message says how much to free.
    """
    needed = sum(image.peak_bytes for image in images)
    if free_bytes < needed:
        names = [image.name for image in images]
        raise MissingError(
            f"missing: {(needed - free_bytes) / GIB:.1f} GiB of disk to build {' and '.join(names)}"
            f" ({free_bytes / GIB:.1f} GiB free of {needed / GIB:.1f} GiB needed): free some, or set"
            f" INFERFLEET_CACHE to a folder on a larger disk"
        )


def layout_of(image: Image, checkout: Path, cache: Path) -> Path:
    """Return the folder of the image that the checkout's content makes, whether it is built or not."""
    return cache / "images" / f"{image.name}-{image_key(image, checkout)}"


def image_key(image: Image, checkout: Path) -> str:
    """Return the hash of what goes into an image: base, Dockerfile, each file it may copy with its mode."""
    digest = hashlib.sha256(repr((imagebuild.BASE, image.reference)).encode())
    for path in sorted(inputs(image, checkout)):
        digest.update(f"\0{path.relative_to(checkout)}\0{path.stat().st_mode & 0o111:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[: imagebuild.KEY_LENGTH]


def inputs(image: Image, checkout: Path) -> Iterator[Path]:
    """Yield the files that an image depends on: what its ignore file lets in, else its whole folder."""
    yield checkout / image.dockerfile
    ignorefile = checkout / image.ignorefile
    context = checkout / image.context
    roots = allowed(ignorefile.read_text()) if ignorefile.exists() else ["."]
    for root in (context / name for name in roots):
        if root.is_file():
            yield root
        yield from (
            path
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.relative_to(root).parts
        )


def allowed(ignorefile: str) -> list[str]:
    """Return the paths that an ignore file lets back in after it has shut everything out."""
    return [line[1:].strip() for line in ignorefile.splitlines() if line.startswith("!")]
