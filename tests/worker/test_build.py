"""The packed worker: one file, reproducible, and content with a bare Python."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path

from inferfleet_wire import ENV_LAUNCH

BUILD = Path(__file__).parent.parent.parent / "worker" / "build.py"


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    targets = [tmp_path / "a" / "worker.pyz", tmp_path / "b" / "worker.pyz"]
    for target in targets:
        subprocess.run([sys.executable, BUILD, target], check=True, capture_output=True)
    assert targets[0].read_bytes() == targets[1].read_bytes()
    assert os.access(targets[0], os.X_OK)


def test_packed_by_the_standard_library_it_is_the_same_program(tmp_path: Path) -> None:
    target = tmp_path / "worker.pyz"
    zipapp.create_archive(BUILD.parent / "src", target, main="inferfleet_worker.__main__:main")
    ended = subprocess.run([sys.executable, target, "inspect", tmp_path], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout[:10]) == (2, b'{"error": ')


def test_version_needs_nothing_but_python(worker_pyz: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-I", "-S", worker_pyz, "version"], capture_output=True, check=True
    )
    assert printed.stdout == b"0.1.0\n"


def test_without_a_launch_plan_it_says_so(worker_pyz: Path) -> None:
    for command in ([], ["run"], ["prestop"]):
        ended = subprocess.run(
            [sys.executable, worker_pyz, *command], env={ENV_LAUNCH: "{}"}, capture_output=True, check=False
        )
        assert ended.returncode == 2
        assert b"INFERFLEET_LAUNCH: launch plan has version None" in ended.stderr


def test_a_python_without_the_engines_packages_hands_over_to_the_engines_python(
    worker_pyz: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script = tmp_path / "vllm"
    script.write_text(f"#!{python}\nraise SystemExit(7)\n")
    for file in (python, script):
        file.chmod(0o755)
    launch = f'{{"version": 1, "command": ["{script}"], "side_port": 0}}'
    ended = subprocess.run(
        [sys.executable, "-I", "-S", worker_pyz], env={ENV_LAUNCH: launch}, capture_output=True, check=False
    )
    assert ended.returncode == 7, ended.stderr


def test_the_gate_is_imported_from_the_packed_file_without_any_package(worker_pyz: Path) -> None:
    subprocess.run(
        [sys.executable, "-S", "-c", "from inferfleet_worker.gate import Gate"],
        env={"PYTHONPATH": str(worker_pyz)},
        check=True,
    )
