"""PID 1 of an engine container, and the gate inside the engine.

Python 3.10 or later. The gate needs the standard library only; the supervisor needs aiohttp and
prometheus_client, which every vLLM image carries; `prestop` and `inspect` need neither.
"""

__version__ = "0.1.0"
