"""`inferfleet run`: the operator."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

SHORTEST_INTERVAL_SECONDS = 0.1


def _identity() -> str:
    """The pod's name in a cluster; elsewhere the host and process, so that two on one host are two."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}_{os.getpid()}"


def _seconds(text: str) -> float:
    """Seconds of a duration; at least a tenth, so that no engine is flooded."""
    from durationpy import DurationError, from_str  # noqa: PLC0415 - `--help` stays light

    try:
        seconds = float(from_str(text).total_seconds())
    except DurationError as error:
        raise click.BadParameter(f"{text} is not a duration such as 2s or 500ms") from error
    if seconds < SHORTEST_INTERVAL_SECONDS:
        raise click.BadParameter(f"{text} is shorter than {SHORTEST_INTERVAL_SECONDS} s")
    return seconds


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Kubeconfig to use.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    help="Serve only this namespace; may be given several times. Default: all.",
)
@click.option(
    "--lease-namespace",
    envvar="POD_NAMESPACE",
    default="inferfleet-system",
    show_default=True,
    help="Namespace of the Lease.",
)
@click.option(
    "--lease",
    "lease_name",
    envvar="INFERFLEET_LEASE",
    default="inferfleet-operator",
    show_default=True,
    help="Name of the Lease.",
)
@click.option("--identity", default=_identity, help="Name of this replica in the Lease. Default: the pod's.")
@click.option(
    "--operator-image",
    envvar="INFERFLEET_OPERATOR_IMAGE",
    default="inferfleet/operator:dev",
    show_default=True,
    help="Image that carries the worker, for the init containers.",
)
@click.option(
    "--port",
    envvar="INFERFLEET_PORT",
    default=8080,
    show_default=True,
    help="Port of /healthz, /readyz and /metrics.",
)
@click.option(
    "--scrape-interval",
    default="2s",
    show_default=True,
    type=_seconds,
    help="Time between two looks at every worker, such as 2s or 500ms.",
)
@click.option(
    "--metrics-source",
    type=click.Choice(["direct", "prometheus"]),
    default="direct",
    show_default=True,
    help="Who looks at the workers: the operator itself, or a Prometheus that scrapes them.",
)
@click.option(
    "--prometheus-url",
    envvar="INFERFLEET_PROMETHEUS_URL",
    help="Address of a Prometheus: for --metrics-source prometheus and for spec.autoscaling.wake.query.",
)
@click.option(
    "--prometheus-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the bearer token for that Prometheus; read anew for every question.",
)
@click.option("--log-level", envvar="INFERFLEET_LOG_LEVEL", default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
def run(  # noqa: PLR0917 - one parameter per option
    kubeconfig: str | None,
    context: str | None,
    namespaces: tuple[str, ...],
    lease_namespace: str,
    lease_name: str,
    identity: str,
    operator_image: str,
    port: int,
    scrape_interval: float,
    metrics_source: str,
    prometheus_url: str | None,
    prometheus_token_file: Path | None,
    log_level: str,
    log_format: str,
) -> None:
    """Run the operator.

    Several replicas may run: one leads by holding the Lease, the others stand by. SIGTERM hands the lease
    over at once; losing it ends the process with exit code 1.
    """
    from inferfleet.shell.process import run as operate  # noqa: PLC0415 - `--help` stays light
    from inferfleet.shell.settings import MetricsSource, Settings  # noqa: PLC0415 - same
    from inferfleet.telemetry.logs import configure_logs  # noqa: PLC0415 - same

    if metrics_source == MetricsSource.PROMETHEUS and not prometheus_url:
        raise click.UsageError("--metrics-source prometheus needs --prometheus-url")
    configure_logs(log_level, plain=log_format == "text")
    settings = Settings(
        identity=identity,
        namespaces=frozenset(namespaces),
        lease_namespace=lease_namespace,
        operator_image=operator_image,
        kubeconfig=kubeconfig,
        context=context,
        lease_name=lease_name,
        port=port,
        scrape_interval_seconds=scrape_interval,
        metrics_source=MetricsSource(metrics_source),
        prometheus_url=prometheus_url,
        prometheus_token_file=prometheus_token_file,
    )
    sys.exit(operate(settings))
