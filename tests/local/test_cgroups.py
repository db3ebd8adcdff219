"""Control groups of the nodes, on folders that look like the kernel's."""

from pathlib import Path

import pytest

from inferfleet_local.cgroups import group_name, hierarchies, make, remove_all


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for controller in ("cpu", "cpuset", "unified"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").write_text("")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    return tmp_path


def test_version_1_has_a_hierarchy_for_each_controller(version_1: Path):
    assert [one.name for one in hierarchies(version_1)] == ["cpu", "cpuset", "unified"]


def test_version_2_has_one(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    assert hierarchies(tmp_path) == [tmp_path]


def test_a_node_has_a_group_in_every_hierarchy_and_all_of_the_processors(version_1: Path):
    name = group_name("c1", "if-node-1")
    (version_1 / "cpuset" / name).mkdir()
    (version_1 / "cpuset" / name / "cpuset.cpus").write_text("\n")
    make(name, version_1)
    assert all((version_1 / controller / name).is_dir() for controller in ("cpu", "cpuset", "unified"))
    assert (version_1 / "cpuset" / name / "cpuset.cpus").read_text() == "0-1\n"


def test_teardown_removes_a_clusters_groups_with_all_below_and_no_others(version_1: Path):
    mine, other = group_name("c1", "if-node-1"), group_name("c2", "if-node-1")
    make(mine, version_1)
    make(other, version_1)
    (version_1 / "cpu" / mine / "kubepods" / "pod1" / "c").mkdir(parents=True)
    remove_all("c1", version_1)
    left = {
        path.name for controller in hierarchies(version_1) for path in controller.iterdir() if path.is_dir()
    }
    assert left == {other}


def test_a_group_name_has_no_underscore_which_kubelet_refuses():
    assert "_" not in group_name("c-1", "if-node-1")
