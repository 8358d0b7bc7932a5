"""Alert rules in git."""
