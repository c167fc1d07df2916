"""Ports for servers that the tests start later."""

import random
import socket
from contextlib import suppress
from pathlib import Path

_FIRST = 10_000
_CHANCE = random.SystemRandom()  # not the seeded one: several test runs choose at a time


def free_port() -> int:
    """One that nobody takes meanwhile by accident: the kernel gives the ports of its own range, above these, to whoever asks for any port,
    and to each connection that goes out.
    """
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in _CHANCE.sample(range(_FIRST, end), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    msg = "None of a hundred ports is free."
    raise AssertionError(msg)
