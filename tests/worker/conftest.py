"""Real processes for the worker's tests: the packed worker, a fake engine, clients that see everything."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from inferfleet_wire import (
    ENV_LAUNCH,
    ENV_RUN_DIR,
    ENV_SPREAD_ABOVE,
    DrainRequest,
    Known,
    LaunchPlan,
    LostCause,
    State,
)
from inferfleet_worker.accounts import Accounts, Totals
from inferfleet_worker.ledger import Control

HERE = Path(__file__).parent
WORKER_FOLDER = HERE.parent.parent / "worker"
FAKE_ENGINE = HERE / "fake_engine.py"
PATIENCE_SECONDS = 20.0
ENV_VLLM_PYTHON = "INFERFLEET_VLLM_PYTHON"
NOT_RUN = pytest.StashKey[list[str]]()


def eventually(condition: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
    """What `condition` answers once it is true; it is asked until then."""
    deadline = time.monotonic() + patience
    while True:
        try:
            answer = condition()
        except OSError as error:
            answer, problem = None, f"{error!r}"
        else:
            problem = f"{answer!r}"
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not true within {patience} s, last: {problem}"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker that still runs, and its engine's group: in a pod the end of PID 1 is the end of all."""
    if process.poll() is None:
        groups = children(process.pid)
        process.kill()
        for group in groups:
            os.killpg(group, signal.SIGKILL)
        process.wait()


@pytest.fixture(name="end")
def end_fixture() -> Callable[[subprocess.Popen[bytes]], None]:
    return end


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[[Callable[[], Any]], Any]:
    return eventually


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(name="free_ports")
def free_ports_fixture() -> Callable[[], int]:
    return free_port


@dataclass
class Client:
    """One connection, so that keep-alive can be seen."""

    port: int

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def ask(self, method: str, path: str, content: object = None) -> http.client.HTTPResponse:
        """Send, and read the head of the answer."""
        body = None if content is None else json.dumps(content).encode()
        self.connection.request(method, path, body, {"Content-Type": "application/json"})
        return self.connection.getresponse()

    def complete(self, **asked: object) -> tuple[int, str, bytes]:
        """A whole answer: status, the Connection header, body."""
        answer = self.ask("POST", "/v1/completions", asked)
        return answer.status, answer.headers.get("Connection", ""), answer.read()

    def stream(self, **asked: object) -> http.client.HTTPResponse:
        """A stream with its first chunk read."""
        answer = self.ask("POST", "/v1/completions", {"stream": True, **asked})
        assert answer.readline() == b"data: 0\n"
        return answer

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def client() -> Iterator[Callable[[int], Client]]:
    clients: list[Client] = []

    def connect(port: int) -> Client:
        clients.append(Client(port))
        return clients[-1]

    yield connect
    for connected in clients:
        connected.close()


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """While this file is there, streams that name it stay open."""
    path = tmp_path / "hold"
    path.touch()
    return path


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True


@dataclass
class GatedEngine:
    """A fake engine with a gate and no supervisor: the test holds the control word itself."""

    port: int
    process: subprocess.Popen[bytes]
    control: Control
    accounts: Accounts

    def totals(self) -> Totals:
        return self.accounts.read(lambda _pid: LostCause.PROCESS_EXIT)


@pytest.fixture
def gated_engine(tmp_path: Path) -> Iterator[GatedEngine]:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    control = Control(run_dir, create=True)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, FAKE_ENGINE, "--port", str(port), "--middleware", "inferfleet_worker.gate.Gate"],
        env={
            **os.environ,
            ENV_RUN_DIR: str(run_dir),
            ENV_SPREAD_ABOVE: "1",
            "PYTHONPATH": str(WORKER_FOLDER / "src"),
        },
    )
    accounts = Accounts(run_dir)
    engine = GatedEngine(port, process, control, accounts)
    eventually(lambda: engine.totals().gates == 1)
    eventually(lambda: answers(port))
    yield engine
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def worker_pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker as it is shipped."""
    spec = importlib.util.spec_from_file_location("worker_build", WORKER_FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    packed: Path = module.build(tmp_path_factory.mktemp("worker") / "worker.pyz")
    return packed


@dataclass
class RunningWorker:
    """The packed worker over a fake engine, as a pod would run it."""

    plan: LaunchPlan
    pyz: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes]
    last_words: Path

    def state(self) -> State:
        return State.from_json(self.side("GET", "/state")[1])

    def news(self, known: Known) -> State:
        return State.from_json(self.side("GET", f"/state?{urlencode(known.to_query())}")[1])

    def side(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.plan.side_port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def drain(self, cause: str, deadline: float | None = None, settle: float = 0.0) -> State:
        status, body = self.side("POST", "/drain", DrainRequest(cause, deadline, settle).to_json())
        assert status == 200, body
        return State.from_json(body)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def last_state(self) -> State:
        return State.from_json(self.last_words.read_bytes())


@pytest.fixture
def launch(worker_pyz: Path) -> Iterator[Callable[..., RunningWorker]]:
    """Start the packed worker over a plan, and wait until its engine answers."""
    started: list[RunningWorker] = []

    def start(
        plan: LaunchPlan,
        env: Mapping[str, str] = os.environ,
        *,
        python: str = sys.executable,
        gates: int = 1,
        patience: float = PATIENCE_SECONDS,
    ) -> RunningWorker:
        last_words = Path(plan.termination_log)
        last_words.touch()
        environment = {**env, ENV_LAUNCH: plan.to_json()}
        process = subprocess.Popen([python, worker_pyz, "run"], env=environment)
        worker = RunningWorker(plan, worker_pyz, environment, process, last_words)
        started.append(worker)
        eventually(lambda: (state := worker.state()).engine_ready and state.gates == gates, patience)
        return worker

    yield start
    for worker in started:
        end(worker.process)


@pytest.fixture
def run_worker(launch: Callable[..., RunningWorker], tmp_path: Path) -> Callable[..., RunningWorker]:
    """A worker over the fake engine; keyword arguments go into the launch plan, the others to the engine."""

    def run(
        *arguments: str, env: Mapping[str, str] | None = None, api_servers: int = 1, **settings: Any
    ) -> RunningWorker:
        port = free_port()
        count = ["--api-server-count", str(api_servers)] if api_servers > 1 else []
        plan = LaunchPlan(
            command=(sys.executable, str(FAKE_ENGINE), "--port", str(port), *count, *arguments),
            engine_port=port,
            side_port=free_port(),
            termination_log=str(tmp_path / f"termination-log-{port}"),
            **{
                "settle_seconds": 0.0,
                "grace_seconds": 30.0,
                "margin_seconds": 1.0,
                "kept_seconds": 0.0,
                **settings,
            },
        )
        return launch(plan, {**os.environ, **(env or {})}, gates=api_servers)

    return run


@pytest.fixture
def run_follower(launch: Callable[..., RunningWorker], tmp_path: Path) -> Callable[..., RunningWorker]:
    """A pod of the same replica that runs no API server."""

    def run(leader: RunningWorker) -> RunningWorker:
        plan = LaunchPlan(
            command=(sys.executable, "-c", "import time; time.sleep(600)"),
            serves=False,
            side_port=free_port(),
            leader_url=f"http://127.0.0.1:{leader.plan.side_port}",
            drain_token=leader.plan.drain_token,
            settle_seconds=0.0,
            termination_log=str(tmp_path / "follower-termination-log"),
        )
        return launch(plan, gates=0)

    return run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The test over the real engine needs one; without it, it is deselected and named, never passed over."""
    if ENV_VLLM_PYTHON in os.environ:
        return
    left_out = [item for item in items if item.path == HERE / "test_vllm.py"]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        config.stash[NOT_RUN] = [item.nodeid for item in left_out]


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    return [f"not run, {ENV_VLLM_PYTHON} is not set: {name}" for name in config.stash.get(NOT_RUN, [])]
