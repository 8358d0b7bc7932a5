"""Prometheus and Alertmanager as clients."""
