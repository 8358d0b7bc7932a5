"""Remediations as YAML, to StackStorm content and back."""
