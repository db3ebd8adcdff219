"""The `inferfleet` command. Each subcommand has a module of its own, imported only when it is run."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

# command -> one line of help, so that `--help` imports nothing heavy
COMMANDS: Final = {
    "plan": "Choose the parallelism for a model on given GPUs, without a cluster.",
    "pools": "Show the GPU pools that the operator discovers in a cluster.",
    "crd": "Print the custom resource definitions.",
    "simulate": "Replay a trace against a deployment, under the operator and under other policies.",
    "explain": "Show why a deployment has its plan, its scale and its capacity.",
    "run": "Run the operator.",
    "inject": "Copy the worker into a shared volume (used by the init container).",
}


class LazyGroup(click.Group):
    """A group whose commands are `COMMAND` in `inferfleet.cli.COMMAND`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return all names without importing them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"inferfleet.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - a wrong module is a bug, not bad input
        command.short_help = COMMANDS[cmd_name]
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inferfleet")
def main() -> None:
    """Plan, run and explain fleets of LLM inference workers on Kubernetes."""
