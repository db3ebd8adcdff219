"""The cluster as the operator sees it, and every write to it."""
