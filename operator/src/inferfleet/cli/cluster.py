"""What the commands that look at a cluster share: how to reach it, and where their output goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click
from kubernetes.aio.config import ConfigException
from rich.console import Console

from inferfleet.cluster.client import TRANSIENT, ApiFailure, ApiServer, load_configuration

T = TypeVar("T")

# Piped output is for other programs and for grep: one line per row, however long.
PIPED_WIDTH: Final = 400


def ask(kubeconfig: str | None, context: str | None, question: Callable[[ApiServer], Awaitable[T]]) -> T:
    """Ask the API server; what goes wrong is one line and exit code 1."""

    async def connected() -> T:
        async with ApiServer(await load_configuration(kubeconfig, context)) as api:
            return await question(api)

    logging.getLogger().addHandler(logging.NullHandler())
    try:
        return asyncio.run(connected())
    except ApiFailure as failure:
        raise click.ClickException(failure.message or str(failure)) from failure
    except ConfigException as error:
        raise click.ClickException(f"no usable kubeconfig: {error}") from error
    except TRANSIENT as error:
        raise click.ClickException(f"the API server cannot be reached: {error}") from error


def console() -> Console:
    """Colours and the window's width for people, plain long lines for a pipe."""
    found = Console()
    return found if found.is_terminal else Console(width=PIPED_WIDTH, no_color=True, highlight=False)
