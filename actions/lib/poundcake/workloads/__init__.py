"""Kubernetes' workloads and nodes: what is wrong with them, and what may be done about it."""
