"""Where the two sides meet: ports, paths and environment variables."""

ENGINE_PORT = 8000
"""The engine's OpenAI-compatible API: what the Service points at."""

SIDE_PORT = 8001
"""The worker's own port: probes, state, drain, metrics. Never part of the Service."""

HEALTH_PATH = "/healthz"
"""200 while supervisor and engine process are alive: the liveness probe."""

READY_PATH = "/readyz"
"""200 while the engine answers and nothing drains, else 503 with the reason: the readiness probe."""

STATE_PATH = "/state"
"""GET answers a `State`; with the query of a `Known` only once there is news."""

DRAIN_PATH = "/drain"
"""POST takes a `DrainRequest` and answers the `State` after it; repeating it is harmless.

Where the launch plan has a `drain_token`, it needs the header that `authorization` makes of it."""

METRICS_PATH = "/metrics"
"""Prometheus exposition of the same state."""

ENV_LAUNCH = "INFERFLEET_LAUNCH"
"""A `LaunchPlan` as JSON."""

ENV_POD_IP = "INFERFLEET_POD_IP"
"""The pod's address (downward API `status.podIP`); it decides the address family of the engine."""

ENV_RUN_DIR = "INFERFLEET_RUN_DIR"
"""Set by the supervisor for the engine: the folder that its gates share with it."""

ENV_SPREAD_ABOVE = "INFERFLEET_SPREAD_ABOVE"
"""Set by the supervisor for the engine: `LaunchPlan.spread_above`."""
