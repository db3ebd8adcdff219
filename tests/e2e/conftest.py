"""The end-to-end run says at its end what it measured."""

from __future__ import annotations

import pytest

MEASURED = pytest.StashKey[dict[str, float]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured = config.stash.get(MEASURED, {})
    if measured:
        terminalreporter.section("measured by the demo's steps")
    for what, seconds in measured.items():
        terminalreporter.write_line(f"{what:34} {seconds:7.1f} s")


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> dict[str, float]:
    return pytestconfig.stash.setdefault(MEASURED, {})
