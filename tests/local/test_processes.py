"""Starting, recognising and stopping long-running programs."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inferfleet_local.processes import Process, all_marked, await_true, find, process, start, stop
from inferfleet_local.state import Places

FOREVER = ["sleep", "infinity"]
DEAF = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Places]:
    place = Places("c1", tmp_path, tmp_path / "cache")
    yield place
    stop(all_marked(place), grace_seconds=0)


def are_marked(where: Places, wanted: list[Process]) -> bool:
    """A program has no environment to read for a moment while the kernel sets it up."""
    return await_true(lambda: all_marked(where) == wanted, timeout_seconds=10)


def test_a_started_program_is_found_again_by_name(where: Places):
    started = start(where, "one", FOREVER)
    assert find(where, "one") == started


def test_a_program_that_runs_is_not_started_twice(where: Places):
    one = start(where, "one", FOREVER)
    assert start(where, "one", FOREVER) == one
    assert are_marked(where, [one])


def test_a_program_that_died_is_started_again(where: Places):
    first = start(where, "one", FOREVER)
    stop([first])
    assert find(where, "one") is None
    assert start(where, "one", FOREVER) != first


def test_a_later_process_with_the_same_number_is_not_taken_for_ours():
    me = process(os.getpid())
    assert me is not None
    assert me.alive
    assert not replace(me, started_ticks=me.started_ticks - 1).alive


def test_a_process_whose_record_was_lost_is_still_found_by_its_mark(where: Places):
    lost = start(where, "one", FOREVER)
    (where.folder / "processes" / "one.json").unlink()
    assert are_marked(where, [lost])


def test_processes_of_another_cluster_are_not_ours(where: Places):
    start(where, "one", FOREVER)
    assert all_marked(Places("c2", where.state_root, where.cache)) == []


def test_a_program_that_ignores_the_request_to_end_is_killed(where: Places):
    deaf = start(where, "deaf", DEAF)
    log = where.logs / "deaf.log"
    assert await_true(lambda: "deaf" in log.read_text(), timeout_seconds=10)
    stop([deaf], grace_seconds=0.2)
    assert not deaf.alive


def test_stopping_what_is_gone_is_no_error():
    stop([Process(pid=2**22 - 1, started_ticks=1)])


def test_output_goes_to_the_programs_log(where: Places):
    start(where, "speaker", ["sh", "-c", "echo out; echo err >&2; exec sleep infinity"])
    log = where.logs / "speaker.log"
    assert await_true(lambda: log.read_text() == "out\nerr\n", timeout_seconds=10)
