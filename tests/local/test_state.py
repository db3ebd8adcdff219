"""Folders, records and atomic files."""

from pathlib import Path

import pytest

from inferfleet_local.errors import ClusterError
from inferfleet_local.state import Flavour, Places, Record, forget, places, read_record, write_atomically


@pytest.mark.parametrize(
    ("environ", "state", "cache"),
    [
        ({"HOME": "/h"}, "/h/.local/state/inferfleet", "/h/.cache/inferfleet"),
        (
            {"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"},
            "/s/inferfleet",
            "/c/inferfleet",
        ),
        (
            {"HOME": "/h", "XDG_STATE_HOME": "/s", "INFERFLEET_STATE": "/own", "INFERFLEET_CACHE": "/mine"},
            "/own",
            "/mine",
        ),
    ],
)
def test_folders_follow_the_environment(environ: dict[str, str], state: str, cache: str):
    where = places("c1", environ)
    assert where.folder == Path(state) / "c1"
    assert where.cache == Path(cache)


@pytest.mark.parametrize("name", ["", "a/b", "..", "Upper", "with_underscore", "x" * 21])
def test_a_name_that_would_not_fit_into_paths_and_groups_is_refused(name: str):
    with pytest.raises(ClusterError, match="cluster name"):
        places(name, {})


@pytest.fixture
def where(tmp_path: Path) -> Places:
    return Places("c1", tmp_path / "state", tmp_path / "cache")


def test_a_record_comes_back_as_it_was_written(where: Places):
    record = Record(Flavour.NODES, "BUILT", nodes=3, octet=204, made_folders=("/a", "/b")).write(where)
    assert read_record(where) == record
    assert read_record(where) == record.but(where, ready=True).but(where, ready=False)


def test_there_is_no_record_of_a_cluster_that_never_was(where: Places):
    assert read_record(where) is None


def test_forgetting_removes_the_folder_and_is_repeatable(where: Places):
    Record(Flavour.API, "BUILT").write(where)
    write_atomically(where.folder / "deep" / "er" / "file", "x")
    (where.folder / "link").symlink_to("/nowhere")
    forget(where)
    forget(where)
    assert not where.folder.exists()


def test_a_file_that_is_replaced_leaves_no_draft_behind(tmp_path: Path):
    write_atomically(tmp_path / "f", "one")
    write_atomically(tmp_path / "f", "two", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "two"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
