"""Prometheus rules as code."""
