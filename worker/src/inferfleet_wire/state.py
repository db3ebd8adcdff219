"""What a worker says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from inferfleet_wire import codec

LONGEST_WAIT_SECONDS = 30.0
"""How long a worker lets wait whoever asks for news of it."""


class Phase(str, Enum):
    """What the gate does with a new request.

    `serving` takes it; `closing` takes it and closes the connection after it, so that keep-alive clients
    move on; `refusing` answers 503; `stopped` is the same, and what still runs is being cut off.
    """

    SERVING = "serving"
    CLOSING = "closing"
    REFUSING = "refusing"
    STOPPED = "stopped"


class RefusedCause(str, Enum):
    """Who refused: the gate because it drains, or the engine because its queue is full (its own 503)."""

    DRAINING = "draining"
    QUEUE_FULL = "queue-full"


class LostCause(str, Enum):
    """Why an accepted request got no whole answer, through no wish of its client.

    `deadline`: cut off when the drain's time was over; `engine-exit`: the engine ended by itself;
    `process-exit`: one of several API server processes died; `error`: the engine answered with a server
    error or broke the answer off.
    """

    DEADLINE = "deadline"
    ENGINE_EXIT = "engine-exit"
    PROCESS_EXIT = "process-exit"
    ERROR = "error"


class NoticeKind(str, Enum):
    """What the machine's owner announced: only an interruption or a maintenance ends the machine."""

    INTERRUPTION = "interruption"
    MAINTENANCE = "maintenance"
    REBALANCE = "rebalance"


@dataclass(frozen=True)
class InFlight:
    """Work inside the engine now. `tokens` counts streamed chunks of unfinished answers: one or more each."""

    requests: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Known:
    """What the asker of a `State` was told before: the answer waits until the requests in flight are others.

    It waits for `wait_seconds` at the longest, and never longer than LONGEST_WAIT_SECONDS. A worker of an
    earlier release answers at once.
    """

    in_flight: int
    wait_seconds: float

    def to_query(self) -> dict[str, str]:
        """The query of GET /state."""
        return {"in_flight": str(self.in_flight), "wait_seconds": str(self.wait_seconds)}

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Known | None:
        """Parse; None where nothing is asked to be waited for; raises WireError."""
        if "wait_seconds" not in query:
            return None
        try:
            known = cls(int(query.get("in_flight", "")), float(query["wait_seconds"]))
        except ValueError as error:
            raise codec.WireError(f"in_flight and wait_seconds must be numbers: {error}") from error
        if not 0.0 <= known.wait_seconds <= LONGEST_WAIT_SECONDS:
            raise codec.WireError(f"wait_seconds must be from 0 to {LONGEST_WAIT_SECONDS:g}")
        return known


@dataclass(frozen=True)
class DrainStatus:
    """The drain under way. Times are epoch seconds; `deadline` None means no bound."""

    cause: str
    started_at: float
    refuses_at: float
    deadline: float | None


@dataclass(frozen=True)
class Notice:
    """The machine is going, or advised to be left. Times are epoch seconds."""

    kind: NoticeKind
    deadline: float | None
    source: str
    detail: str
    seen_at: float


@dataclass(frozen=True)
class State:
    """One look at a worker.

    Totals count since `instance` started (another `instance` means that they began anew) and always
    satisfy: accepted = in flight + finished + disconnected + lost + refused for `queue-full`.
    `gates` is the number of API server processes that count; 0 while the engine loads. `time` is the
    worker's own clock, so that the operator sees a skew. `not_ready_reason` is empty when ready.
    """

    instance: str
    pid: int
    phase: Phase
    time: float
    engine_ready: bool
    engine_version: str = ""
    not_ready_reason: str = ""
    gates: int = 0
    in_flight: InFlight = field(default_factory=InFlight)
    accepted_total: int = 0
    finished_total: int = 0
    disconnected_total: int = 0
    refused_total: Mapping[str, int] = field(default_factory=dict)
    lost_total: Mapping[str, int] = field(default_factory=dict)
    drain: DrainStatus | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def drained(self) -> bool:
        """Nothing runs and nothing new gets in: the pod may be deleted without loss."""
        return self.phase in {Phase.REFUSING, Phase.STOPPED} and self.in_flight.requests == 0

    def to_json(self) -> str:
        """The answer of GET /state, and what stands in the container's termination message at the end."""
        return codec.render(asdict(self))

    @classmethod
    def from_json(cls, body: str | bytes) -> State:
        """Parse; raises WireError."""
        fields = codec.parse(body, "worker state")
        in_flight = codec.as_object(fields.get("in_flight", {}), "in_flight")
        return cls(
            instance=codec.text(fields, "instance"),
            pid=codec.count(fields, "pid"),
            phase=codec.choice(Phase, fields, "phase"),
            time=codec.number(fields, "time"),
            engine_ready=codec.flag(fields, "engine_ready"),
            engine_version=codec.text(fields, "engine_version", ""),
            not_ready_reason=codec.text(fields, "not_ready_reason", ""),
            gates=codec.count(fields, "gates", 0),
            in_flight=InFlight(codec.count(in_flight, "requests", 0), codec.count(in_flight, "tokens", 0)),
            accepted_total=codec.count(fields, "accepted_total", 0),
            finished_total=codec.count(fields, "finished_total", 0),
            disconnected_total=codec.count(fields, "disconnected_total", 0),
            refused_total=codec.counts(fields, "refused_total"),
            lost_total=codec.counts(fields, "lost_total"),
            drain=_drain(fields.get("drain")),
            notices=tuple(_notice(entry) for entry in codec.as_list(fields.get("notices", []), "notices")),
        )


def _drain(value: Any) -> DrainStatus | None:
    if value is None:
        return None
    fields = codec.as_object(value, "drain")
    return DrainStatus(
        cause=codec.text(fields, "cause"),
        started_at=codec.number(fields, "started_at"),
        refuses_at=codec.number(fields, "refuses_at"),
        deadline=codec.optional_number(fields, "deadline"),
    )


def _notice(value: Any) -> Notice:
    fields = codec.as_object(value, "notice")
    return Notice(
        kind=codec.choice(NoticeKind, fields, "kind"),
        deadline=codec.optional_number(fields, "deadline"),
        source=codec.text(fields, "source"),
        detail=codec.text(fields, "detail", ""),
        seen_at=codec.number(fields, "seen_at"),
    )
