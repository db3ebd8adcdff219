"""The cluster's own programs, built once from pinned Go modules and kept in the cache.

Each folder under `tools/` is one Go module whose `tool` lines name the programs; `go.sum` pins every byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local.errors import MissingError
from inferfleet_local.run import run, run_logged
from inferfleet_local.state import Flavour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferfleet_local.progress import Progress

TOOLS = Path(__file__).resolve().parents[2] / "tools"
GO_VERSION = (1, 26)
MODULES = {Flavour.API: ("kubernetes", "kwok", "helm"), Flavour.NODES: ("kubernetes", "coredns", "helm")}
# `go build` names a program after the last folder of its package, which says little for etcd.
RENAMED = {"server": "etcd"}
# the compiler's processes are short: collecting their garbage less often costs memory and saves time
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly", "GOGC": "400"}
FROM_ASSETS = ("etcd", "kube-apiserver", "kubectl")
# Folders of a module's source that its program needs at run time: kept beside it, in `crds`.
DEFINITIONS = {"karpenter": ("sigs.k8s.io/karpenter", ("kwok/charts/crds", "kwok/apis/crds"))}


@dataclass(frozen=True, slots=True)
class Programs:
    """Where each program lies."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders to put on PATH."""
        return tuple(dict.fromkeys(path.parent for path in self.paths.values()))


def tool_names(go_mod: str) -> tuple[str, ...]:
    """Return the programs that a go.mod builds, from its `tool` lines."""
    block = re.search(r"^tool \((.*?)^\)", go_mod, re.MULTILINE | re.DOTALL)
    packages = block.group(1).split() if block else re.findall(r"^tool (\S+)$", go_mod, re.MULTILINE)
    return tuple(RENAMED.get(name, name) for name in map(_program, packages))


def _program(package: str) -> str:
    parts = package.split("/")
    # a last element such as "v3" is the module's major version, not a name
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def module_key(folder: Path) -> str:
    """Return what the built programs depend on: the pins, and how they are stamped."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((folder / name).read_bytes())
    digest.update(" ".join(_flags(folder)).encode())
    return digest.hexdigest()[:16]


def _flags(folder: Path) -> list[str]:
    """Return the build flags; without the version stamp clients and charts see Kubernetes v0.0.0."""
    stamp = ""
    pin = re.search(
        r"^\s*k8s\.io/kubernetes v((\d+)\.(\d+)\.\d+)\b", (folder / "go.mod").read_text(), re.MULTILINE
    )
    if pin:
        version, major, minor = pin.groups()
        at = "k8s.io/component-base/version"
        stamp = f" -X {at}.gitVersion=v{version} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}"
    return ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w{stamp}"]


def ensure(
    flavour: Flavour, cache: Path, log: Path, progress: Progress, *, assets: Path | None = None
) -> Programs:
    """Return the programs of a flavour, building the modules that the cache lacks.

    Args:
        flavour: What the programs are for.
        cache: Where built programs are kept.
        log: Where the compiler's output goes.
        progress: Told of each module that is built.
        assets: A folder with ready programs (as `KUBEBUILDER_ASSETS`) that go before our own.
    """
    for module in MODULES[flavour]:
        ensure_module(module, cache, log, progress)
    paths = _paths(flavour, cache)
    if assets is not None:
        paths |= {name: assets / name for name in FROM_ASSETS if (assets / name).exists()}
    return Programs(paths)


def ensure_module(module: str, cache: Path, log: Path, progress: Progress) -> Path:
    """Return the folder with the programs of one module, built if the cache lacks it."""
    target = _target(module, cache)
    if not target.exists():
        with progress.step(f"build {module}"):
            _build(TOOLS / module, target, log)
        progress.built.append(module)
    return target


def built(flavour: Flavour, cache: Path) -> Programs | None:
    """Return the programs of a flavour if all are in the cache."""
    paths = _paths(flavour, cache)
    return Programs(paths) if all(path.exists() for path in paths.values()) else None


def _target(module: str, cache: Path) -> Path:
    return cache / "bin" / f"{module}-{module_key(TOOLS / module)}"


def _paths(flavour: Flavour, cache: Path) -> dict[str, Path]:
    return {
        name: _target(module, cache) / name
        for module in MODULES[flavour]
        for name in tool_names((TOOLS / module / "go.mod").read_text())
    }


def _build(folder: Path, target: Path, log: Path) -> None:
    check_go()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        draft = Path(scratch) / "bin"
        draft.mkdir()
        run_logged(
            ["nice", "-n", "10", "go", "build", *_flags(folder), "-o", f"{draft}/", "tool"],
            log,
            cwd=folder,
            env=BUILD_ENVIRONMENT,
        )
        for built, name in RENAMED.items():
            if (draft / built).exists():
                (draft / built).rename(draft / name)
        if folder.name in DEFINITIONS:
            _copy_definitions(folder, draft / "crds")
        if not target.exists():
            draft.rename(target)


def _copy_definitions(folder: Path, target: Path) -> None:
    module, sources = DEFINITIONS[folder.name]
    source = run(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=folder, env=BUILD_ENVIRONMENT).strip()
    target.mkdir()
    for definition in (path for part in sources for path in (Path(source) / part).glob("*.yaml")):
        # the module cache is read-only, and a copy of its modes could not be removed
        (target / definition.name).write_bytes(definition.read_bytes())


def check_go() -> None:
    """Make sure that a Go compiler is there that can build the programs.

    Raises:
        MissingError: There is none, or it is too old.
    """
    wanted = ".".join(map(str, GO_VERSION))
    if shutil.which("go") is None:
        raise MissingError(f"missing: Go {wanted} or later on PATH (https://go.dev/dl)")
    found = run(["go", "env", "GOVERSION"]).strip()
    match = re.match(r"go(\d+)\.(\d+)", found)
    if match is None or tuple(map(int, match.groups())) < GO_VERSION:
        raise MissingError(f"Go {wanted} or later is needed, found {found}")


def search_path(programs: Programs, extra: Sequence[str] = ()) -> str:
    """Return PATH with the programs in front."""
    return os.pathsep.join([*map(str, programs.folders), os.environ.get("PATH", os.defpath), *extra])
