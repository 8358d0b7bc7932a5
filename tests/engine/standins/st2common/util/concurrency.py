"""`sleep` as sensors call it; under the sensor's monkey patch it yields to other greenlets."""

from time import sleep  # noqa: F401
