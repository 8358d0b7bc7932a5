"""Read-only answers."""
