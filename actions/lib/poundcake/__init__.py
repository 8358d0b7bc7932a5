"""PoundCake's library: what the sensor and the actions share. One concept a file."""
