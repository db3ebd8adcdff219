"""How the operator (or a pod's preStop hook) asks a worker to leave."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from inferfleet_wire import codec

DEFAULT_SETTLE_SECONDS = 7.0
"""A little more than the 5 s after which vLLM's server closes an idle keep-alive connection."""


def drain_token(deployment_uid: str) -> str:
    """What a drain of one deployment's workers must be asked with.

    The uid is random and known to those only who may read the deployment or its pods from the API server: a
    pod that merely reaches the side port cannot guess it.
    """
    return hashlib.sha256(f"inferfleet drain {deployment_uid}".encode()).hexdigest()


def authorization(token: str) -> dict[str, str]:
    """The header that carries a token; none where there is none."""
    return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass(frozen=True)
class DrainRequest:
    """Stop taking work and finish what runs.

    `deadline_epoch_seconds` is when unfinished work is cut off, None for no bound. `settle_seconds` is how
    long requests that were already on their way are still taken. Sent again, the earlier deadline and the
    earlier refusal hold: a drain is tightened, never loosened and never taken back.
    """

    cause: str
    deadline_epoch_seconds: float | None = None
    settle_seconds: float = DEFAULT_SETTLE_SECONDS

    def to_json(self) -> str:
        """The body of POST /drain."""
        return codec.render(
            {
                "cause": self.cause,
                "deadline_epoch_seconds": self.deadline_epoch_seconds,
                "settle_seconds": self.settle_seconds,
            }
        )

    @classmethod
    def from_json(cls, body: str | bytes) -> DrainRequest:
        """Parse; raises WireError."""
        fields = codec.parse(body, "drain request")
        cause = codec.text(fields, "cause")
        if not cause:
            raise codec.WireError("cause must say why")
        return cls(
            cause=cause,
            deadline_epoch_seconds=codec.optional_number(fields, "deadline_epoch_seconds"),
            settle_seconds=codec.number(fields, "settle_seconds", DEFAULT_SETTLE_SECONDS),
        )
