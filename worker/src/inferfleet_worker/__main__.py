"""`python3 worker.pyz [run | prestop | inspect DIR | version]`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from inferfleet_wire import ENV_LAUNCH, LaunchPlan, WireError
from inferfleet_worker import __version__, engine
from inferfleet_worker.inspection import InspectionError, inspect
from inferfleet_worker.prestop import prestop

BAD_INPUT = 2
NEEDED = ("aiohttp", "prometheus_client")


def main() -> NoReturn:
    """Do one command and exit with its code: a zipapp's own start calls this and looks at no answer."""
    sys.exit(_command())


def _command() -> int:
    parser = argparse.ArgumentParser(prog="worker.pyz", description="The worker of an InferFleet engine pod.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help=f"run the engine of ${ENV_LAUNCH} (default)")
    commands.add_parser("prestop", help="drain this pod's worker, then return")
    commands.add_parser("inspect", help="print a model folder's config and sizes").add_argument(
        "folder", type=Path
    )
    commands.add_parser("version", help="print the worker's version")
    arguments = parser.parse_args()
    if arguments.command == "version":
        print(__version__)
        return 0
    if arguments.command == "inspect":
        return _inspect(arguments.folder)
    try:
        plan = LaunchPlan.from_json(os.environ.get(ENV_LAUNCH, ""))
    except WireError as error:
        print(f"{ENV_LAUNCH}: {error}", file=sys.stderr)
        return BAD_INPUT
    return prestop(plan) if arguments.command == "prestop" else _run(plan)


def _run(plan: LaunchPlan) -> int:
    """Supervise; under the engine's Python where the one that started us lacks what vLLM's always has.

    As PID 1 a process that has no handler yet does not see SIGTERM at all: until the supervisor takes them,
    the signals that end a pod are kept pending.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        python = engine.engine_python(plan.command)
        if Path(python).absolute() == Path(sys.executable).absolute():
            print(f"the engine's Python ({python}) needs {' and '.join(NEEDED)}", file=sys.stderr)
            return BAD_INPUT
        os.execv(python, [python, *sys.argv])  # noqa: S606
    from inferfleet_worker.supervisor import supervise  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s inferfleet-worker %(levelname)s %(message)s")
    return supervise(plan, os.environ)


def _inspect(folder: Path) -> int:
    try:
        report = inspect(folder)
    except InspectionError as error:
        print(json.dumps({"error": str(error)}))
        return BAD_INPUT
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    main()
