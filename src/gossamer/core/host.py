"""The one door to the host's time and randomness."""

from __future__ import annotations

import secrets
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
