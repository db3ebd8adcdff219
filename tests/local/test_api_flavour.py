"""Flavour api, started for real: control plane and simulated nodes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO

import pytest

from inferfleet_local import cluster
from inferfleet_local.cli import main
from inferfleet_local.errors import ClusterError
from inferfleet_local.gpus import await_gpus
from inferfleet_local.processes import all_marked, await_true
from inferfleet_local.progress import Progress
from inferfleet_local.state import Flavour, Places, places

pytestmark = pytest.mark.controlplane


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    place = places("if-api-test", {**os.environ, "INFERFLEET_STATE": str(tmp_path_factory.mktemp("api"))})
    yield place
    cluster.down(place, Progress(out=StringIO()))
    assert all_marked(place) == []
    assert not place.folder.exists()


@pytest.fixture
def running(where: Places) -> cluster.Cluster:
    return cluster.up(where, Flavour.API, Progress(out=StringIO()), nodes=2)


def test_simulated_nodes_become_ready_with_their_gpus(running: cluster.Cluster):
    await_gpus(running.kubectl, {"if-node-1": 4, "if-node-2": 4}, {})


def test_pods_are_scheduled_and_played(running: cluster.Cluster):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]
        },
    }
    assert await_true(lambda: "default" in running.kubectl("get", "serviceaccounts"), timeout_seconds=30)
    running.kubectl.apply([pod])
    running.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=30s")


@pytest.mark.usefixtures("running")
def test_starting_what_runs_keeps_every_process(where: Places):
    before = set(all_marked(where))
    again = cluster.up(where, Flavour.API, Progress(out=StringIO()), nodes=2)
    assert not again.started_here
    assert set(all_marked(where)) == before


def test_after_a_crash_of_the_api_server_a_start_makes_it_whole(where: Places, running: cluster.Cluster):
    for one in all_marked(where):
        os.kill(one.pid, signal.SIGKILL)
    assert not running.kubectl.ready
    assert cluster.up(where, Flavour.API, Progress(out=StringIO()), nodes=2).kubectl.ready


@pytest.mark.usefixtures("running")
def test_another_flavour_under_the_same_name_is_refused(where: Places):
    with pytest.raises(ClusterError, match="take it down first"):
        cluster.up(where, Flavour.NODES, Progress(out=StringIO()))


@pytest.mark.usefixtures("running")
def test_status_says_what_runs(where: Places):
    text = cluster.status(where)
    assert "API server ready" in text
    assert "if-node-2" in text


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.6])
def test_a_start_that_was_killed_on_its_way_is_made_whole_by_the_next(where: Places, seconds: float):
    cluster.down(where, Progress(out=StringIO()))
    kill_start_after(where, seconds)
    assert cluster.up(where, Flavour.API, Progress(out=StringIO()), nodes=1).kubectl.ready


def kill_start_after(where: Places, seconds: float) -> None:
    command = [sys.executable, "-m", "inferfleet_local", "up", "--flavour=api", f"--name={where.name}"]
    environment = {**os.environ, "INFERFLEET_STATE": str(where.state_root)}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, timeout=seconds, check=True, capture_output=True)


def test_a_failed_command_is_one_line_and_no_traceback(capsys: pytest.CaptureFixture[str]):
    assert main(["env", "--name", "if-never-was"]) == 1
    assert capsys.readouterr().err == "error: if-never-was is not there: run `up` first\n"
