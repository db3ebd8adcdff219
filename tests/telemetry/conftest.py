"""The Prometheus that these tests run, and what a busy engine says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inferfleet_local.run import run, run_logged
from inferfleet_local.state import places


@pytest.fixture(scope="session")
def prometheus_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`INFERFLEET_PROMETHEUS`, or the one on PATH, or Debian's, unpacked into the cache but not installed."""
    found = os.environ.get("INFERFLEET_PROMETHEUS") or shutil.which("prometheus")
    if found:
        return Path(found)
    program = places("prometheus").cache / "bin" / "prometheus"
    if not program.exists():
        if shutil.which("apt-get") is None:
            pytest.skip("not run: no Prometheus; name one in INFERFLEET_PROMETHEUS")
        folder = tmp_path_factory.mktemp("debian")
        if os.geteuid() == 0 and not list(Path("/var/lib/apt/lists").glob("*_Packages*")):
            run_logged(["apt-get", "-q", "update"], folder / "apt.log")
        run_logged(["apt-get", "-q", "download", "prometheus"], folder / "apt.log", cwd=folder)
        (package,) = folder.glob("*.deb")
        run(["dpkg-deb", "-x", package, folder / "unpacked"])
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / "unpacked/usr/bin/prometheus", program.with_suffix(".new"))
        program.with_suffix(".new").rename(program)
    return program


@pytest.fixture(scope="session")
def busy_engine() -> str:
    """What a real engine said under load."""
    return (Path(__file__).parents[1] / "pure/telemetry/data/vllm-0.32-busy.prom").read_text()
