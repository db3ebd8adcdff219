"""A discrete-event simulator of traffic, engines, nodes and spot markets, under the operator's own `plan`.

Deterministic: the same inputs and the same seed give the same run.
"""
