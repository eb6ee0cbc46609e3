"""The one door to the host's time, randomness and private names."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path


def monotonic_ns() -> int:
    return time.monotonic_ns()


def thread_cpu_ns() -> int:
    """CPU time that the calling thread has used, ns."""
    return time.thread_time_ns()


def utc_ns() -> int:
    """Nanoseconds since 1970, UTC."""
    return time.time_ns()


def sleep_ns(ns: int) -> None:
    time.sleep(ns / 1e9)


def random_bytes(n: int) -> bytes:
    return secrets.token_bytes(n)


def home() -> Path:
    """The user's folder; one that does not exist for a user without any."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def utc_offset() -> int:
    """Seconds that local time is ahead of UTC."""
    return time.localtime().tm_gmtoff


def bind_private(listener: socket.socket, path: str) -> None:
    """Bind a Unix socket that its owner alone can use, whatever the umask; OSError."""
    os.fchmod(listener.fileno(), 0o600)  # Linux makes the name with the socket's own mode
    listener.bind(path)
    os.chmod(path, 0o600)  # noqa: PTH101 - elsewhere the umask decided until here
