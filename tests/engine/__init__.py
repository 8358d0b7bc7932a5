"""The embedded engine: a one-process stand-in for StackStorm 3.9.0."""
