"""Prometheus, Alertmanager and Kubernetes as clients, bounded in time and size."""
