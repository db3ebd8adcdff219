"""What the init container does: the worker arrives whole, or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from inferfleet.cli import main


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    shipped = tmp_path / "shipped.pyz"
    shipped.write_bytes(b"a zipped worker")
    shipped.chmod(0o600)
    return shipped


def test_the_worker_is_copied_readable_for_every_user(tmp_path: Path, worker: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    environment = {"INFERFLEET_WORKER_PYZ": str(worker)}
    for _ in range(2):  # an init container may run again
        outcome = CliRunner().invoke(main, ["inject", str(volume)], env=environment)
        assert outcome.exit_code == 0, outcome.output
    assert [path.name for path in volume.iterdir()] == ["worker.pyz"]
    target = volume / "worker.pyz"
    assert target.read_bytes() == b"a zipped worker"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_without_a_worker_in_the_image_the_message_names_it(tmp_path: Path):
    missing = str(tmp_path / "nothing.pyz")
    outcome = CliRunner().invoke(main, ["inject", str(tmp_path)], env={"INFERFLEET_WORKER_PYZ": missing})
    assert outcome.exit_code == 2
    assert "nothing.pyz" in outcome.output
    assert list(tmp_path.iterdir()) == []
