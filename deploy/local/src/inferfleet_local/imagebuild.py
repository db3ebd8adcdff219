"""Building images with buildah: no daemon, no container engine, no registry."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local import binaries
from inferfleet_local.imageload import IMAGE_NAME, RECORD, blob, read_manifest
from inferfleet_local.run import run_logged
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from inferfleet_local.image import Image

PROGRAMS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
"""What building needs: program -> the Debian package that has it."""

KEY_LENGTH = 16
DRAFT = ".building-"

BASE_IMAGE = "docker.io/library/debian:bookworm-slim"
BASE_SUITE = "bookworm"
BASE_OPTIONS = (
    "--quiet",
    "--variant=minbase",
    # more than the real one has, because the host's certificates are mounted over this package's folder
    "--include=ca-certificates",
    # nothing has to survive a power cut before it is committed: a third of the time
    "--dpkgopt=force-unsafe-io",
)
BASE = (BASE_IMAGE, BASE_SUITE, BASE_OPTIONS)


@dataclass(frozen=True, slots=True)
class Builder:
    """Buildah with a store of its own below `folder`, so that the user's images and ours never meet."""

    folder: Path
    log: Path

    @property
    def _buildah(self) -> list[str | Path]:
        store = self.folder / "store"
        return [
            "buildah",
            f"--root={store / 'root'}",
            f"--runroot={store / 'run'}",
            "--storage-driver=overlay",
        ]

    @property
    def _bud(self) -> list[str | Path]:
        return [
            *self._buildah,
            "build-using-dockerfile",
            "--isolation=chroot",  # needs no runtime and no control groups
            "--network=host",
            "--pull-never",
            "--disable-compression",  # packing and unpacking cost more time than the disk gives
        ]

    def sweep(self) -> None:
        """Remove what killed builds left: their working containers, with mounts, and their drafts."""
        run_logged([*self._buildah, "rm", "--all"], self.log)
        for draft in self.folder.glob(f"{DRAFT}*"):
            shutil.rmtree(draft)

    def build(self, image: Image, checkout: Path, layout: Path) -> None:
        """Build an image into a layout, which appears when it is whole and replaces those of old keys."""
        if BASE_IMAGE in (checkout / image.dockerfile).read_text():
            self._make_base()
        old = layouts(self.folder, image.name)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=DRAFT) as scratch:
            draft = Path(scratch, "layout")
            link_blobs(old, draft)
            context = checkout / image.context
            if image.program:
                context = self._compile(context / image.program, Path(scratch, "context"))
            ignorefile = checkout / image.ignorefile
            command: list[str | Path] = [
                *self._bud,
                f"--layers={str(image.stepwise).lower()}",
                f"--file={checkout / image.dockerfile}",
                *([f"--ignorefile={ignorefile}"] if ignorefile.exists() else []),
                *mounts(Path.home()),
                f"--tag=oci:{draft}:{image.reference}",
                context,
            ]
            run_logged(command, self.log, env={"TMPDIR": scratch})
            seal(draft, image.reference)
            for it in old:
                shutil.rmtree(it)
            draft.rename(layout)

    def _compile(self, source: Path, context: Path) -> Path:
        """Build a Go program into a folder, which is then the context."""
        binaries.check_go()
        target = context / source.stem
        command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(target), str(source)]
        run_logged(command, self.log, env={"CGO_ENABLED": "0", "GOWORK": "off"})
        return context

    def _make_base(self) -> None:
        """Make the image that the Dockerfiles start from, under the name that it has in a registry."""
        marker = self.folder / "base"
        if marker.exists() and marker.read_text() == repr(BASE):
            return
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=DRAFT) as scratch:
            root = Path(scratch, "root.tar")
            run_logged(["mmdebstrap", *BASE_OPTIONS, BASE_SUITE, root], self.log, env={"TMPDIR": scratch})
            Path(scratch, "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["bash"]\n')
            run_logged([*self._bud, f"--tag={BASE_IMAGE}", scratch], self.log, env={"TMPDIR": scratch})
        write_atomically(marker, repr(BASE))


def layouts(folder: Path, name: str) -> list[Path]:
    """Return an image's finished layouts, oldest first (there is more than one only after a crash)."""
    return sorted(folder.glob(f"{name}-{'[0-9a-f]' * KEY_LENGTH}"), key=lambda layout: layout.stat().st_mtime)


def mounts(home: Path, *, root: Path = Path("/")) -> list[str]:
    """Return options that show build steps the host's certificates and package index, where it has its own.

    They are mounted, not copied: images hold nothing of the host, and Dockerfiles know nothing of it.
    """
    choices: dict[str, list[Path]] = {
        "/etc/ssl/certs": [root / "etc/ssl/certs"],
        "/etc/pip.conf": [home / ".config/pip/pip.conf", home / ".pip/pip.conf", root / "etc/pip.conf"],
        "/etc/uv/uv.toml": [home / ".config/uv/uv.toml", root / "etc/uv/uv.toml"],
    }
    found = {target: next(filter(Path.exists, paths), None) for target, paths in choices.items()}
    return [f"--volume={path}:{target}:ro" for target, path in found.items() if path is not None]


def link_blobs(layouts: Sequence[Path], draft: Path) -> None:
    """Start a layout with what earlier ones hold, so that unchanged layers are not written again."""
    target = draft / "blobs/sha256"
    target.mkdir(parents=True)
    for layout in layouts:
        for path in layout.glob("blobs/sha256/*"):
            if not (target / path.name).exists():
                (target / path.name).hardlink_to(path)


def seal(layout: Path, reference: str) -> None:
    """Finish a layout: name the image for containerd, drop blobs of other images, add the archive to import.

    The archive has the index and the manifest only; what they refer to is in a node's store by then.
    """
    index = json.loads((layout / "index.json").read_text())
    index["manifests"] = index["manifests"][-1:]
    index["manifests"][0].setdefault("annotations", {})[IMAGE_NAME] = reference
    (layout / "index.json").write_text(json.dumps(index))
    manifest = read_manifest(layout)
    for path in layout.glob("blobs/sha256/*"):
        if f"sha256:{path.name}" not in manifest.blobs:
            path.unlink()
    with tarfile.open(layout / RECORD, "w") as archive:
        for path in (layout / "oci-layout", layout / "index.json", blob(layout, manifest.digest)):
            archive.add(path, str(path.relative_to(layout)))
