"""PID 1 of an engine container, and the gate inside the engine."""
