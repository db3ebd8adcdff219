"""The one place that knows kopf: it finds the deployments, keeps a task for each, holds their finalizer.

Only low-level handlers are used: anything higher writes the last handled configuration onto every object.
Views are our own informers (kopf's indices do not scale to the pods of a fleet), and so are Events and the
lease.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

import kopf
from kubernetes.aio.client.configuration import Configuration

from inferfleet.shell.settings import Settings
from inferfleet.values import labels

PLURAL: Final = "inferencedeployments"
FINALIZER: Final = f"{labels.GROUP}/finalizer"
DAEMON_EXIT_SECONDS: Final = 1.0
PROCESS_EXIT_SECONDS: Final = 30.0

LookAfter = Callable[[str, str], Coroutine[Any, Any, None]]


async def run(
    settings: Settings, configuration: Configuration, look_after: LookAfter, stop: asyncio.Event
) -> None:
    """Run `look_after(key, uid)` for every InferenceDeployment until `stop` is set.

    `look_after` ends when the deployment may go: only then is its finalizer taken away.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_kwargs: Any) -> kopf.ConnectionInfo:
        return connection(configuration)

    @kopf.daemon(
        labels.GROUP, labels.VERSION, PLURAL, registry=registry, id="deployment", cancellation_polling=2
    )
    async def deployment(*, namespace: str | None, name: str, uid: str, **_kwargs: Any) -> None:
        await look_after(f"{namespace}/{name}", uid)

    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(),
        # kopf would look up the name of the user, which a container need not have
        identity=settings.identity,  # type: ignore[arg-type] # kopf does not export its NewType
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=stop,
    )
    on_signals(stop)  # kopf has just taken them over, and would not tell the rest of the process
    await kopf.run_tasks(tasks, ignored=before)


def on_signals(stop: asyncio.Event) -> None:
    """Make SIGTERM and SIGINT set `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The API client's own way to the API server, in kopf's words; asked again when a token has expired."""
    refresh: Callable[[Configuration], None] | None = configuration.refresh_api_key_hook
    if refresh:
        refresh(configuration)
    scheme, _, token = (configuration.api_key.get("BearerToken") or "").partition(" ")
    ca_data = getattr(configuration, "ca_cert_data", None)
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=None if ca_data else configuration.ssl_ca_cert,
        ca_data=ca_data,
        insecure=not configuration.verify_ssl,
        scheme=scheme.capitalize() if token else None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=labels.GROUP)
    settings.background.instant_exit_timeout = DAEMON_EXIT_SECONDS
    settings.process.ultimate_exiting_timeout = PROCESS_EXIT_SECONDS
    return settings
