"""What the operator tells a worker at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from inferfleet_wire import codec
from inferfleet_wire.drain import DEFAULT_SETTLE_SECONDS
from inferfleet_wire.endpoints import ENGINE_PORT, SIDE_PORT


class MetadataProvider(str, Enum):
    """Whose metadata service announces that the machine is going; `url` is a plain JSON document."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"
    URL = "url"


@dataclass(frozen=True)
class MetadataSource:
    """One place to poll for notices.

    `url` replaces the provider's well-known address (required for `url`); `notice_seconds` is assumed where
    the provider gives no instant, None for the provider's own default.
    """

    provider: MetadataProvider
    url: str = ""
    notice_seconds: float | None = None


@dataclass(frozen=True)
class LaunchPlan:
    """How to run one engine.

    `command` is the engine's argv as the plan and the user want it; the worker adds `--middleware`, and
    `--shutdown-timeout` where the engine knows it and the command does not set it. `env` is added to the
    container's own. `serves` is False for the pods of a replica that run no API server (rank above 0);
    those follow `leader_url`, the side port of the pod that does. Drains are taken only with `drain_token`,
    from anyone where it is empty. The last `State` is left in
    `termination_log` (terminationMessagePath), so that its counts outlive the container. With more than
    `spread_above` requests in flight, answers ask their clients to connect anew, so that kept connections
    do not hold the load on one replica while others idle; 0 never does.

    Seconds: `grace_seconds` is the pod's terminationGracePeriodSeconds; `margin_seconds` of it, and of a
    notice, are kept for the engine's exit; `shutdown_seconds` is the engine's own drain at the end;
    `kept_seconds` is how long the engine keeps an idle connection (vLLM: VLLM_HTTP_TIMEOUT_KEEP_ALIVE);
    `notice_grace_seconds` is how long a notice waits for the operator's drain before the worker acts alone.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    engine_port: int = ENGINE_PORT
    side_port: int = SIDE_PORT
    serves: bool = True
    leader_url: str = ""
    drain_token: str = ""
    termination_log: str = "/dev/termination-log"
    spread_above: int = 0
    grace_seconds: float = 330.0
    settle_seconds: float = DEFAULT_SETTLE_SECONDS
    margin_seconds: float = 5.0
    shutdown_seconds: float = 10.0
    kept_seconds: float = 5.0
    metadata: tuple[MetadataSource, ...] = ()
    notice_poll_seconds: float = 1.0
    notice_grace_seconds: float = 2.0

    def to_json(self) -> str:
        """The value of INFERFLEET_LAUNCH."""
        return codec.render(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> LaunchPlan:
        """Parse; raises WireError."""
        fields = codec.parse(text, "launch plan")
        command = tuple(codec.as_list(fields.get("command"), "command"))
        env = codec.as_object(fields.get("env", {}), "env")
        if not command or not all(isinstance(word, str) for word in (*command, *env.values())):
            raise codec.WireError("command must hold at least one word, and it and env strings only")
        default = cls(command=command)
        return cls(
            command=command,
            env=env,
            engine_port=codec.count(fields, "engine_port", default.engine_port),
            side_port=codec.count(fields, "side_port", default.side_port),
            serves=codec.flag(fields, "serves", default.serves),
            leader_url=codec.text(fields, "leader_url", default.leader_url),
            drain_token=codec.text(fields, "drain_token", default.drain_token),
            termination_log=codec.text(fields, "termination_log", default.termination_log),
            spread_above=codec.count(fields, "spread_above", default.spread_above),
            grace_seconds=codec.number(fields, "grace_seconds", default.grace_seconds),
            settle_seconds=codec.number(fields, "settle_seconds", default.settle_seconds),
            margin_seconds=codec.number(fields, "margin_seconds", default.margin_seconds),
            shutdown_seconds=codec.number(fields, "shutdown_seconds", default.shutdown_seconds),
            kept_seconds=codec.number(fields, "kept_seconds", default.kept_seconds),
            metadata=tuple(_source(entry) for entry in codec.as_list(fields.get("metadata", []), "metadata")),
            notice_poll_seconds=codec.number(fields, "notice_poll_seconds", default.notice_poll_seconds),
            notice_grace_seconds=codec.number(fields, "notice_grace_seconds", default.notice_grace_seconds),
        )


def _source(value: Any) -> MetadataSource:
    fields = codec.as_object(value, "metadata source")
    source = MetadataSource(
        provider=codec.choice(MetadataProvider, fields, "provider"),
        url=codec.text(fields, "url", ""),
        notice_seconds=codec.optional_number(fields, "notice_seconds"),
    )
    if source.provider is MetadataProvider.URL and not source.url:
        raise codec.WireError("a metadata source of provider url needs its url")
    return source
