"""`inferfleet inject`: what the init container of a worker's pod runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

SHIPPED = "/opt/inferfleet/worker.pyz"


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--worker",
    envvar="INFERFLEET_WORKER_PYZ",
    default=SHIPPED,
    show_default=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The zipped worker to copy.",
)
def inject(directory: Path, worker: Path) -> None:
    """Copy the worker into DIRECTORY as worker.pyz: whole or not at all, readable by every user."""
    target = directory / "worker.pyz"
    draft = directory / f".worker.pyz.{os.getpid()}"
    try:
        shutil.copyfile(worker, draft)
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    click.echo(f"{target}: {target.stat().st_size} bytes")
