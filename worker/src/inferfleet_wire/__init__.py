"""The contract between the operator and the worker. Standard library only."""
