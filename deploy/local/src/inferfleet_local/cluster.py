"""A cluster as its users see it: up, down, status, and what is found or started for a test."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from inferfleet_local import binaries, kind, packages, real
from inferfleet_local.errors import ClusterError
from inferfleet_local.kubectl import Kubectl
from inferfleet_local.kwok import KwokCluster
from inferfleet_local.machines import machines, simulated_node
from inferfleet_local.processes import stop_marked
from inferfleet_local.progress import Progress
from inferfleet_local.source import Source, choose, container_engine_answers
from inferfleet_local.state import Flavour, Places, Record, forget, locked, places, read_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferfleet_local.binaries import Programs

DEFAULT_NAMES = {Flavour.NODES: "inferfleet", Flavour.API: "inferfleet-api"}
DEFAULT_NODES = {Flavour.NODES: 2, Flavour.API: 0}
IMAGES = ("operator", "engine-cpu")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers, and where it came from."""

    where: Places
    flavour: Flavour
    source: Source
    kubectl: Kubectl
    started_here: bool

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubectl.kubeconfig

    def down(self) -> None:
        """Take it down, unless it is the user's own."""
        if self.source is not Source.KUBECONFIG:
            down(self.where, Progress())


def resolve(
    flavour: Flavour | str,
    *,
    name: str | None = None,
    nodes: int | None = None,
    images: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Cluster:
    """Return a cluster that answers, started if need be, and print which one it is."""
    flavour = Flavour(flavour)
    where = places(name or DEFAULT_NAMES[flavour], environ)
    return up(where, flavour, Progress(), nodes=nodes, images=images, environ=environ)


def up(
    where: Places,
    flavour: Flavour,
    progress: Progress,
    *,
    nodes: int | None = None,
    images: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Cluster:
    """Bring a cluster up; what is already there is kept, what a crash left half made is made again.

    Raises:
        MissingError: The machine lacks something; the message says what to install.
        ClusterError: A step failed; the message names its log.
    """
    environ = os.environ if environ is None else environ
    source = choose(flavour, environ, container_engine_answers)
    progress.say(f"{where.name}: flavour {flavour}, {source}")
    if source is Source.KUBECONFIG:
        kubectl = Kubectl(Path("kubectl"), Path(environ["KUBECONFIG"]))
        return Cluster(where, flavour, source, kubectl, started_here=False)
    count = DEFAULT_NODES[flavour] if nodes is None else nodes
    machines(count)
    if flavour is Flavour.NODES and source is Source.BUILT:
        real.check(where)
    with locked(where):
        fresh = read_record(where) is None
        record = _record(where, flavour, source, count)
        if source is Source.KIND:
            kubectl = kind.up(where, count, progress)
        else:
            assets = Path(environ["KUBEBUILDER_ASSETS"]) if source is Source.ASSETS else None
            kubectl = _up_own(where, record, progress, images, assets)
        existing(where).but(where, ready=True)
        progress.keep(where, flavour=flavour, nodes=record.nodes, fresh=fresh)
    progress.say(f"ready: export KUBECONFIG={where.kubeconfig}")
    return Cluster(where, flavour, source, kubectl, started_here=fresh)


def _record(where: Places, flavour: Flavour, source: Source, count: int) -> Record:
    record = read_record(where)
    if record is None:
        return Record(flavour=flavour, source=source.name, nodes=count).write(where)
    if (record.flavour, record.source) != (flavour, source.name):
        raise ClusterError(
            f"{where.name} exists with flavour {record.flavour} from {record.source.lower()}:"
            f" take it down first, or use another --name"
        )
    return record.but(where, nodes=max(count, record.nodes))


def _up_own(
    where: Places, record: Record, progress: Progress, images: Sequence[str], assets: Path | None
) -> Kubectl:
    if installed := packages.ensure(record.flavour, where.logs / "packages.log"):
        progress.built.append("packages")
        progress.say(f"installed {', '.join(installed)}")
    get_programs = partial(
        binaries.ensure, record.flavour, where.cache, where.logs / "build.log", progress, assets=assets
    )
    if record.flavour is Flavour.NODES:
        return real.up(where, record, get_programs, progress, images)
    return _up_simulated(where, record, get_programs(), progress)


def prepare(where: Places, flavour: Flavour, progress: Progress, images: Sequence[str]) -> None:
    """Install and build what `up` would, and start nothing."""
    packages.ensure(flavour, where.state_root / "packages.log")
    with ThreadPoolExecutor(1) as beside:
        built_images = beside.submit(real.build_images, where, where.state_root, images, progress)
        binaries.ensure(flavour, where.cache, where.state_root / "build.log", progress)
        built_images.result()
    progress.say(f"built: {', '.join(progress.built) or 'nothing, all was in the cache'}")


def _up_simulated(where: Places, record: Record, programs: Programs, progress: Progress) -> Kubectl:
    kubectl = Kubectl(programs["kubectl"], where.kubeconfig)
    if not (record.ready and kubectl.ready):
        with progress.step("control plane and kwok"):
            KwokCluster(where, programs).create(where.logs / "kwokctl.log")
            kubectl.await_ready(where.logs / "kwok" / "kube-apiserver.log")
    if record.nodes:
        with progress.step("simulated nodes"):
            kubectl.apply(map(simulated_node, machines(record.nodes)))
    return kubectl


def down(where: Places, progress: Progress) -> None:
    """Take a cluster down, whatever state it is in; nothing happens where there is none."""
    with locked(where):
        record = read_record(where)
        if record is not None and record.source == Source.KIND.name:
            with progress.step("kind delete"):
                kind.down(where)
        elif record is not None and record.flavour is Flavour.NODES:
            real.down(where, record, progress)
        with progress.step(f"{where.name} down"):
            stop_marked(where)
            forget(where)


def ready_programs(where: Places, record: Record) -> Programs:
    """Return the programs of a running cluster without building any.

    Raises:
        ClusterError: They are gone from the cache.
    """
    programs = binaries.built(record.flavour, where.cache)
    if programs is None:
        raise ClusterError("the programs are not in the cache: run `up` again")
    return programs


def status(where: Places) -> str:
    """Describe a cluster in a few lines."""
    record = read_record(where)
    if record is None:
        return f"{where.name}: not there"
    lines = [f"{where.name}: flavour {record.flavour}, {Source[record.source]}"]
    programs = binaries.built(record.flavour, where.cache)
    if programs is None:
        return "\n".join([*lines, "  half started, or its programs are gone from the cache: run `up` again"])
    kubectl = Kubectl(programs["kubectl"], where.kubeconfig)
    answers = where.kubeconfig.exists() and kubectl.ready
    lines += [f"  API server {'ready' if answers else 'does not answer'}", f"  logs {where.logs}"]
    if record.flavour is Flavour.NODES and record.source != Source.KIND.name:
        lines += [f"  {line}" for line in real.describe(where, record)]
    if answers:
        lines += [f"  {line}" for line in kubectl("get", "nodes", "-o", "wide").splitlines()]
    return "\n".join(lines)


def all_names(state_root: Path) -> list[str]:
    """Return the names of the clusters that are there, in whatever state."""
    return sorted(path.parent.name for path in state_root.glob("*/cluster.json"))


def environment(where: Places) -> str:
    """Return shell lines that put this cluster and its programs into the environment."""
    path = binaries.search_path(ready_programs(where, existing(where)))
    return f"export KUBECONFIG={where.kubeconfig}\nexport PATH={path}"


def own_kubectl(where: Places) -> Kubectl:
    """Return kubectl for a cluster that is up."""
    return Kubectl(ready_programs(where, existing(where))["kubectl"], where.kubeconfig)


def existing(where: Places) -> Record:
    """Return the record of a cluster that must be there.

    Raises:
        ClusterError: It is not.
    """
    if (record := read_record(where)) is None:
        raise ClusterError(f"{where.name} is not there: run `up` first")
    return record
