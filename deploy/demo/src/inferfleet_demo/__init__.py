"""The main job end to end on a real cluster, step by step, each step proven: `make demo` and the e2e test."""
