"""-daemonize: the emulator goes on in the background when its sockets listen."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from typing import Final

_READY: Final = b"\0"


def detach(keep: Iterable[int]) -> Callable[[], None]:
    """Continue in a child process; the caller's process waits and ends as the child says.

    Returns what the child calls when it can be used: standard streams, and pipes and sockets that
    were inherited, are closed then (but `keep`, which options name), and the parent ends with
    status 0.  A child that ends before has written why; the parent ends with its status.  To be
    called before there are threads or other descriptors.
    """
    inherited = [fd for fd in _descriptors() if fd > 2 and fd not in set(keep)]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    heard, says = os.pipe()
    child = os.fork()
    if child:
        os.close(says)
        if os.read(heard, 1) == _READY:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) or 1)
    os.close(heard)
    os.setsid()

    def ready() -> None:
        for fd in inherited:
            if _is_channel(fd):
                os.close(fd)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.write(says, _READY)
        os.close(says)

    return ready


def _descriptors() -> list[int]:
    """What is open; /dev/fd is there on Linux and macOS."""
    found = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - names are numbers
    return [fd for fd in found if _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_channel(fd: int) -> bool:
    """Whether a descriptor is a pipe or socket, at whose other end a reader may wait."""
    if not _is_open(fd):
        return False
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
