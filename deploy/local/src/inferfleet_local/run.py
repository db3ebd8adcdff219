"""Running other programs, with their output in a log and an error that points to it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from inferfleet_local.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 12
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def environment() -> dict[str, str]:
    """Return the environment for programs that we start; a user's PATH often lacks the system's folders."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}"}


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_seconds: float = 120,
) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        ClusterError: It failed or took too long; the message holds the end of its error output.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            cwd=cwd,
            env={**environment(), **(env or {})},
            timeout=timeout_seconds,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words[:6])} did not end within {timeout_seconds:.0f} s") from error
    if done.returncode:
        raise ClusterError(f"{' '.join(words[:6])} failed ({done.returncode}): {done.stderr.strip()[-1500:]}")
    return done.stdout


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long program to its end with all its output appended to a log.

    Raises:
        ClusterError: It failed; the message holds the log's name and last lines.
    """
    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as sink:
        sink.write(f"\n$ {' '.join(words)}\n")
        sink.flush()
        try:
            code = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=False,
                cwd=cwd,
                env={**environment(), **(env or {})},
            ).returncode
        except FileNotFoundError as error:
            raise ClusterError(f"{words[0]} is not on this machine") from error
    if code:
        raise ClusterError(f"{words[0]} failed ({code}), log {log}:\n{tail(log)}")


def tail(log: Path) -> str:
    """Return the last lines of a log, or nothing where there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
