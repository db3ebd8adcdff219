"""Structured logs: one JSON object a line, with the deployment that a line is about."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

FIELDS = "%(levelname)s %(name)s %(message)s"


def configure_logs(level: str = "INFO", stream: TextIO | None = None, *, plain: bool = False) -> None:
    """Send all logs to `stream` (stderr by default), as JSON or, for people, as plain lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s")
        if plain
        else JsonFormatter(
            FIELDS,
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
