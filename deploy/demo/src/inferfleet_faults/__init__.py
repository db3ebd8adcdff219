"""The fault-injection proof: what clients, endpoints and replicas see while nodes, pods and operators go."""
