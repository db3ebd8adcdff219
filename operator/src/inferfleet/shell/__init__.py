"""The composition root: connects the rooms, and is the only place that knows the operator framework."""
