"""Stand-in for st2reactor: the sensor base classes."""
