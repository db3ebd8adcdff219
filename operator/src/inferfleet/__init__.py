"""InferFleet: a Kubernetes operator for fleets of LLM inference workers on GPUs."""
