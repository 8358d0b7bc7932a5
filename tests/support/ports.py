"""Free ports for servers that tests start."""

import random
import socket

# Linux gives outgoing connections ports from 32768 on. One of those may be taken between the moment
# at which it is found free and the moment at which a server listens on it.
LOWEST, HIGHEST = 15000, 32000

_dice = random.SystemRandom()  # workers that run side by side choose different ones
_given = set()


def free_port():
    """Return a TCP port of 127.0.0.1 on which nothing listens, another one at every call."""
    while True:
        port = _dice.randint(LOWEST, HIGHEST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
