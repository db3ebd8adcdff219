"""kubectl and Helm as the newcomer types them, with their answers parsed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import tenacity

Seen = TypeVar("Seen")


class StepFailedError(Exception):
    """A step of the demo is not true. The message says what was expected and what was seen last."""


def eventually(
    what: str,
    look: Callable[[], Seen | None],
    *,
    seconds: float,
    every: float = 1.0,
    saw: Callable[[], str] | None = None,
) -> Seen:
    """Look until there is something to return.

    Raises:
        StepFailedError: when nothing came within `seconds`; names what was waited for and what was seen.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(every),
        retry=tenacity.retry_if_result(lambda seen: seen is None),
    )
    try:
        seen = retrying(look)
    except tenacity.RetryError:
        last = f"; saw: {saw()}" if saw else ""
        raise StepFailedError(f"not seen within {seconds:.0f} s: {what}{last}") from None
    assert seen is not None  # noqa: S101 - tenacity retried while it was None
    return seen


@dataclass(frozen=True)
class Kube:
    """One cluster, one namespace."""

    kubeconfig: str
    namespace: str
    path: str = field(default_factory=lambda: os.environ["PATH"])

    @property
    def environment(self) -> Mapping[str, str]:
        """What the tools are started with."""
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "PATH": self.path}

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a tool and return what it printed.

        Raises:
            StepFailedError: when it exits non-zero, with its message.
        """
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=dict(self.environment),
            timeout=600,
        )
        if done.returncode:
            raise StepFailedError(
                f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-2000:]}"
            )
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.run("kubectl", "-n", self.namespace, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get … -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def find(self, *arguments: str) -> Any | None:
        """Return `kubectl get … -o json`, None where the object does not exist."""
        found = self.kubectl("get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found.strip() else None
