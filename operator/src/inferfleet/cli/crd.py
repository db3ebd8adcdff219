"""`inferfleet crd`: the custom resource definitions, for those who do not install with Helm."""

from __future__ import annotations

import click
import yaml

from inferfleet.api.crd import definitions


@click.command()
def crd() -> None:
    """Print the custom resource definitions as YAML, ready for `kubectl apply -f -`."""
    click.echo(yaml.safe_dump_all(definitions(), sort_keys=False, width=110), nl=False)
