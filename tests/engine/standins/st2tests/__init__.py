"""Stand-in for st2tests: the base classes for a pack's unit tests."""
