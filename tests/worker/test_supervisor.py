"""The packed worker over real processes: what becomes of streams, exit codes and counts."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inferfleet_wire import (
    ENV_LAUNCH,
    ENV_POD_IP,
    DrainRequest,
    InFlight,
    Known,
    LaunchPlan,
    Phase,
    authorization,
    drain_token,
)

if TYPE_CHECKING:
    from tests.worker.conftest import Client, RunningWorker

Connect = Callable[[int], "Client"]
Eventually = Callable[[Callable[[], object]], object]
LOADING = (sys.executable, "-c", "import time; time.sleep(600)")
End = Callable[["subprocess.Popen[bytes]"], None]
Run = Callable[..., "RunningWorker"]


def test_sigterm_in_the_middle_of_a_stream_lets_it_finish(
    run_worker: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    worker = run_worker()
    stream = client(worker.plan.engine_port).stream(chunks=2, hold=str(hold))
    worker.terminate()
    eventually(lambda: worker.state().phase is Phase.REFUSING)
    assert client(worker.plan.engine_port).complete()[0] == 503
    assert worker.state().in_flight == InFlight(1, 2)
    hold.unlink()
    assert stream.read().endswith(b"data: [DONE]\n\n")
    assert worker.wait() == 0
    last = worker.last_state()
    assert (last.finished_total, last.refused_total["draining"], sum(last.lost_total.values())) == (1, 1, 0)
    assert last.drain is not None
    assert last.drain.cause == "termination"


def test_an_idle_engine_lives_on_while_a_kept_connection_may_bring_its_last_request(
    run_worker: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    worker = run_worker(kept_seconds=20.0)
    promised = client(worker.plan.engine_port)
    stream = promised.stream(hold=str(hold))
    worker.terminate()
    eventually(lambda: worker.state().phase is Phase.REFUSING)
    hold.unlink()
    stream.read()
    idle_at = worker.state().time
    eventually(lambda: worker.state().time > idle_at + 1.0)
    assert promised.complete()[:2] == (200, "close")
    assert promised.complete()[0] == 503, "that was the last one"


def test_a_drain_does_not_stop_the_engine_until_the_pod_is_terminated(
    run_worker: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    worker = run_worker()
    stream = client(worker.plan.engine_port).stream(hold=str(hold))
    assert worker.drain("scale-down").drain is not None
    eventually(lambda: worker.state().phase is Phase.REFUSING)
    assert not worker.state().drained
    hold.unlink()
    stream.read()
    eventually(lambda: worker.state().drained)
    assert client(worker.plan.engine_port).ask("GET", "/health").status == 200
    assert worker.side("GET", "/readyz") == (503, "draining: scale-down\n")
    assert worker.side("GET", "/healthz")[0] == 200
    worker.terminate()
    assert worker.wait() == 0


def test_a_drain_settles_before_it_refuses(run_worker: Run, client: Connect) -> None:
    worker = run_worker()
    state = worker.drain("rollout", settle=60.0)
    assert state.phase is Phase.CLOSING
    assert client(worker.plan.engine_port).complete()[:2] == (200, "close")
    tightened = worker.drain("interruption", deadline=time.time() + 10, settle=0.0)
    assert tightened.phase is Phase.REFUSING
    assert client(worker.plan.engine_port).complete()[0] == 503
    assert worker.drain("deletion", deadline=time.time() + 1000).drain == tightened.drain


def test_work_that_does_not_end_is_cut_at_the_deadline_and_counted(
    run_worker: Run, client: Connect, hold: Path
) -> None:
    worker = run_worker("--ignore-sigterm", grace_seconds=2.0, margin_seconds=1.5)
    stream = client(worker.plan.engine_port).stream(hold=str(hold))
    worker.terminate()
    with pytest.raises((http.client.IncompleteRead, OSError)):
        stream.read()
    assert worker.wait() == 128 + signal.SIGKILL
    last = worker.last_state()
    assert last.phase is Phase.STOPPED
    assert (last.lost_total["deadline"], sum(last.lost_total.values()), last.in_flight.requests) == (1, 1, 0)


def test_a_crash_of_the_engine_passes_its_code_through_and_counts_what_it_took_along(
    run_worker: Run, client: Connect, hold: Path
) -> None:
    worker = run_worker()
    client(worker.plan.engine_port).stream(hold=str(hold))
    with pytest.raises((http.client.HTTPException, OSError)):
        client(worker.plan.engine_port).ask("POST", "/exit", {"code": 3})
    assert worker.wait() == 3
    last = worker.last_state()
    assert last.lost_total == {"deadline": 0, "engine-exit": 1, "process-exit": 0, "error": 0}
    assert (last.engine_ready, last.gates) == (False, 0)


def test_an_engine_ended_by_a_signal_ends_the_worker_as_a_shell_would(
    run_worker: Run, client: Connect
) -> None:
    worker = run_worker()
    pid = json.loads(client(worker.plan.engine_port).ask("GET", "/self").read())["pid"]
    subprocess.run(["kill", "-SEGV", str(pid)], check=True)
    assert worker.wait() == 128 + signal.SIGSEGV


def test_several_api_servers_are_one_worker(
    run_worker: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    worker = run_worker(api_servers=3)
    port = worker.plan.engine_port
    streams = [client(port).stream(hold=str(hold)) for _ in range(6)]
    assert worker.state().gates == 3
    assert worker.state().in_flight.requests == 6
    worker.drain("rollout")
    eventually(lambda: worker.state().phase is Phase.REFUSING)
    assert [client(port).complete()[0] for _ in range(12)] == [503] * 12
    hold.unlink()
    assert all(stream.read().endswith(b"data: [DONE]\n\n") for stream in streams)
    eventually(lambda: worker.state().drained)
    worker.terminate()
    assert worker.wait() == 0
    last = worker.last_state()
    assert last.finished_total == last.accepted_total
    assert (last.refused_total["draining"], sum(last.lost_total.values())) == (12, 0)


def test_one_api_server_that_dies_loses_only_what_it_had(
    run_worker: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    worker = run_worker(api_servers=2)
    for _ in range(8):
        client(worker.plan.engine_port).stream(hold=str(hold))
    (main,) = children(worker.process.pid)
    (victim,) = children(main)
    subprocess.run(["kill", "-KILL", str(victim)], check=True)
    eventually(lambda: worker.state().gates == 1)
    state = worker.state()
    assert state.accepted_total == 8
    assert state.lost_total["process-exit"] == 8 - state.in_flight.requests
    assert worker.process.poll() is None, "the engine's main process decides what becomes of the rest"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_other_signals_reach_the_engine(run_worker: Run) -> None:
    worker = run_worker()
    worker.process.send_signal(signal.SIGUSR1)
    assert worker.wait() == 128 + signal.SIGUSR1


def test_prestop_drains_and_returns_when_nothing_runs(
    run_worker: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    worker = run_worker(settle_seconds=0.2)
    stream = client(worker.plan.engine_port).stream(hold=str(hold))
    hook = subprocess.Popen([sys.executable, worker.pyz, "prestop"], env=worker.env, stdout=subprocess.PIPE)
    eventually(lambda: worker.state().phase is Phase.REFUSING)
    assert hook.poll() is None
    hold.unlink()
    stream.read()
    printed, _ = hook.communicate(timeout=20)
    assert hook.returncode == 0
    assert json.loads(printed)["in_flight"]["requests"] == 0
    until = worker.state().drain
    worker.terminate()
    assert worker.wait() == 0
    assert worker.last_state().drain == until, "SIGTERM after preStop does not begin the grace anew"


def test_a_drain_is_taken_only_with_the_token_of_the_deployment_and_from_the_pod_itself(
    run_worker: Run,
) -> None:
    worker = run_worker(drain_token=drain_token("uid-1"))
    body = DrainRequest("mischief").to_json()
    for headers in ({}, {"Authorization": "Bearer guess"}, authorization(drain_token("uid-2"))):
        assert worker.side("POST", "/drain", body, headers)[0] == 401
    assert worker.state().phase is Phase.SERVING
    assert worker.side("GET", "/state")[0] == 200, "looking needs none"
    done = subprocess.run([sys.executable, worker.pyz, "prestop"], env=worker.env, timeout=20, check=False)
    assert done.returncode == 0
    assert worker.state().phase is Phase.REFUSING
    assert worker.side("POST", "/drain", body, authorization(drain_token("uid-1")))[0] == 200


def test_prestop_ends_at_the_deadline_while_work_is_left(
    run_worker: Run, client: Connect, hold: Path
) -> None:
    worker = run_worker(grace_seconds=2.0, margin_seconds=1.5)
    client(worker.plan.engine_port).stream(hold=str(hold))
    hook = subprocess.run([sys.executable, worker.pyz, "prestop"], env=worker.env, timeout=20, check=True)
    assert hook.returncode == 0
    assert worker.state().in_flight.requests == 1


def test_prestop_of_a_worker_that_is_gone_returns_at_once(worker_pyz: Path) -> None:
    plan = LaunchPlan(command=("vllm",), side_port=1)
    hook = subprocess.run(
        [sys.executable, worker_pyz, "prestop"],
        env={ENV_LAUNCH: plan.to_json()},
        capture_output=True,
        check=True,
    )
    assert b"does not answer" in hook.stdout


def test_an_engine_that_still_loads_is_not_ready_and_stops_without_settling(
    worker_pyz: Path, eventually: Eventually, free_ports: Callable[[], int], end: End
) -> None:
    side = free_ports()
    plan = LaunchPlan(command=LOADING, side_port=side, engine_port=1, settle_seconds=300.0)
    process = subprocess.Popen(
        [sys.executable, worker_pyz], env={ENV_LAUNCH: plan.to_json(), "PATH": "/usr/bin:/bin"}
    )
    try:
        eventually(lambda: b"does not listen yet" in fetch(side, "/readyz"))
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    finally:
        end(process)


def fetch(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_an_engine_that_cannot_be_started_is_said_and_ends_the_worker(
    worker_pyz: Path, free_ports: Callable[[], int]
) -> None:
    side = free_ports()
    plan = LaunchPlan(command=("/no/such/engine",), side_port=side)
    ended = subprocess.run(
        [sys.executable, worker_pyz],
        env={ENV_LAUNCH: plan.to_json()},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 127
    assert b"/no/such/engine" in ended.stderr


def test_the_side_port_answers_nonsense_with_what_is_wrong(run_worker: Run) -> None:
    worker = run_worker()
    status, body = worker.side("POST", "/drain", '{"version": 7, "cause": "x"}')
    assert (status, json.loads(body)["error"]) == (
        400,
        "drain request has version 7, this side understands 1",
    )
    assert worker.state().phase is Phase.SERVING


def test_the_side_port_and_the_engine_answer_on_the_pods_family(run_worker: Run) -> None:
    worker = run_worker(env={ENV_POD_IP: "::1"})
    for host in ("::1", "127.0.0.1"):
        with socket.create_connection((host, worker.plan.side_port), timeout=5):
            pass
    with socket.create_connection(("::1", worker.plan.engine_port), timeout=5):
        pass


def test_an_asker_who_knows_what_is_in_flight_is_answered_as_soon_as_it_is_another_number(
    run_worker: Run, client: Connect, hold: Path
) -> None:
    worker = run_worker()
    with ThreadPoolExecutor() as askers:
        began = askers.submit(worker.news, Known(0, 30.0))
        stream = client(worker.plan.engine_port).stream(hold=str(hold))
        assert began.result(10).in_flight.requests == 1
        ended = askers.submit(worker.news, Known(1, 30.0))
        hold.unlink()
        stream.read()
        assert ended.result(10).in_flight.requests == 0
    assert worker.news(Known(3, 30.0)).in_flight.requests == 0, "it is another number already"
    assert worker.news(Known(0, 0.1)).in_flight.requests == 0, "there is no news"
    assert worker.side("GET", "/state?in_flight=0&wait_seconds=long")[0] == 400


def test_somebody_who_waits_for_news_does_not_keep_the_worker_from_ending(run_worker: Run) -> None:
    worker = run_worker()
    with ThreadPoolExecutor() as askers:
        waiting = askers.submit(worker.news, Known(0, 30.0))
        worker.terminate()
        assert worker.wait() == 0
        assert waiting.result(5).phase is not Phase.SERVING


def test_the_metrics_say_what_the_state_says(run_worker: Run, client: Connect) -> None:
    worker = run_worker()
    client(worker.plan.engine_port).complete()
    deadline = time.time() + 100
    worker.drain("interruption", deadline=deadline)
    client(worker.plan.engine_port).complete()
    _, text = worker.side("GET", "/metrics")
    samples = {
        (sample.name.removeprefix("inferfleet_worker_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["accepted_total",] == 1
    assert samples["finished_total",] == 1
    assert samples["refused_total", "draining"] == 1
    assert samples["lost_total", "deadline"] == 0
    assert samples["phase", "refusing"] == 1
    assert samples["phase", "serving"] == 0
    assert samples["engine_ready",] == 1
    assert samples["drain_deadline_seconds",] == pytest.approx(deadline, abs=0.001)


def test_a_pod_without_api_server_drains_with_its_leader(
    run_worker: Run, run_follower: Run, client: Connect, hold: Path, eventually: Eventually
) -> None:
    leader = run_worker(drain_token=drain_token("uid-1"))
    follower = run_follower(leader)
    stream = client(leader.plan.engine_port).stream(hold=str(hold))
    follower.terminate()
    eventually(lambda: leader.state().phase is Phase.REFUSING)
    assert follower.process.poll() is None, "the follower computes for the leader's stream"
    hold.unlink()
    assert stream.read().endswith(b"data: [DONE]\n\n")
    assert follower.wait() == 128 + signal.SIGTERM


@pytest.mark.nodes
def test_as_pid_1_it_collects_the_orphans_of_the_engines_helpers(
    worker_pyz: Path, eventually: Eventually, free_ports: Callable[[], int]
) -> None:
    side = free_ports()
    helper = "subprocess.run(['sh', '-c', 'sleep 0.2 & sleep 0.3 & exit 0'])"
    orphan = f"import subprocess, time; {helper}; time.sleep(600)"
    plan = LaunchPlan(command=(sys.executable, "-c", orphan), side_port=side)
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, worker_pyz],
        env={ENV_LAUNCH: plan.to_json(), "PATH": os.environ["PATH"]},
    )
    try:
        eventually(lambda: b"engine process" in fetch(side, "/healthz"))
        (pid_1,) = children(outer.pid)
        eventually(lambda: len(children(pid_1)) > 1)
        eventually(lambda: len(children(pid_1)) == 1)
    finally:
        outer.kill()
        outer.wait()
