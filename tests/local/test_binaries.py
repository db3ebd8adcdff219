"""Which programs the pinned modules make, and when they are built again."""

import shutil
from io import StringIO
from pathlib import Path

import pytest

from inferfleet_local import binaries
from inferfleet_local.progress import Progress
from inferfleet_local.state import Flavour


@pytest.mark.parametrize(
    ("module", "programs"),
    [
        (
            "kubernetes",
            {"etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"}
            | {"kubectl", "kubelet"},
        ),
        ("kwok", {"kwok", "kwokctl"}),
        ("coredns", {"coredns"}),
        ("helm", {"helm"}),
        ("karpenter", {"kwok"}),
    ],
)
def test_each_module_makes_its_programs(module: str, programs: set[str]):
    assert set(binaries.tool_names((binaries.TOOLS / module / "go.mod").read_text())) == programs


def test_changing_a_pin_changes_the_key(tmp_path: Path):
    folder = tmp_path / "kwok"
    shutil.copytree(binaries.TOOLS / "kwok", folder)
    before = binaries.module_key(folder)
    assert binaries.module_key(folder) == before
    with (folder / "go.sum").open("a") as sums:
        sums.write("\n")
    assert binaries.module_key(folder) != before


def test_kubernetes_is_stamped_with_the_version_that_is_pinned():
    flags = " ".join(binaries._flags(binaries.TOOLS / "kubernetes"))
    assert "gitVersion=v1.35." in flags
    assert "gitMajor=1 " in flags
    assert "gitMinor=35" in flags


def test_nothing_counts_as_built_in_an_empty_cache(tmp_path: Path):
    assert binaries.built(Flavour.NODES, tmp_path) is None


def filled(cache: Path, flavour: Flavour) -> None:
    for path in binaries._paths(flavour, cache).values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_a_filled_cache_is_used_without_building(tmp_path: Path):
    filled(tmp_path, Flavour.API)
    progress = Progress(out=StringIO())
    programs = binaries.ensure(Flavour.API, tmp_path, tmp_path / "log", progress)
    assert programs.paths == binaries.built(Flavour.API, tmp_path).paths
    assert progress.built == []


def test_programs_of_the_user_go_before_our_own(tmp_path: Path):
    filled(tmp_path, Flavour.API)
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "etcd").write_text("")
    programs = binaries.ensure(
        Flavour.API, tmp_path, tmp_path / "log", Progress(out=StringIO()), assets=assets
    )
    assert programs["etcd"] == assets / "etcd"
    assert programs["kube-apiserver"].is_relative_to(tmp_path / "bin")


def test_path_puts_our_programs_first():
    programs = binaries.Programs({"a": Path("/one/a"), "b": Path("/one/b"), "c": Path("/two/c")})
    assert binaries.search_path(programs).startswith("/one:/two:")
