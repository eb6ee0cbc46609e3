"""TCP ports for what must know its port before it listens."""

from __future__ import annotations

import contextlib
import os
import socket


def free_port() -> int:
    """A port below those that hosts give to connections: it stays free for a while."""
    for port in range(20_000 + os.getpid() % 5000, 32_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")
