"""The one door to the host's time, randomness, private names, and what hosts do differently."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

_LONGEST_SOCKET: Final = 107
"""Bytes of a Unix socket's name."""
#: Memory that counts only where it is touched; other hosts than Linux count so anyway.
MAP_NORESERVE: Final = 0x4000 if sys.platform == "linux" else 0


def monotonic_ns() -> int:
    return time.monotonic_ns()


def cores() -> int:
    """How many of the host's CPUs this process may have."""
    asked = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() or 1 if asked is None else len(asked(0))


def thread_cpu_ns() -> int:
    """CPU time that the calling thread has used, ns."""
    return time.thread_time_ns()


def process_cpu_ns() -> int:
    """CPU time of this process, all threads, ns."""
    return time.process_time_ns()


def utc_ns() -> int:
    """Nanoseconds since 1970, UTC."""
    return time.time_ns()


def sleep_ns(ns: int) -> None:
    time.sleep(ns / 1e9)


def lock() -> AbstractContextManager[object]:
    """What one thread at a time has."""
    return threading.Lock()


def condition() -> threading.Condition:
    """What a thread waits on until another has changed something."""
    return threading.Condition()


def random_bytes(n: int) -> bytes:
    return os.urandom(n)


def home() -> Path:
    """The user's folder; one that does not exist for a user without any."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def utc_offset() -> int:
    """Seconds that local time is ahead of UTC."""
    return time.localtime().tm_gmtoff


def listen_private(listener: socket.socket, path: str, backlog: int) -> None:
    """Let a Unix socket listen that its owner alone can use, whatever the umask; OSError.

    Who finds the name may connect: it is there only once the socket listens, and no other process
    takes it for a stale one.
    """
    os.fchmod(listener.fileno(), 0o600)  # Linux makes the name with the socket's own mode
    early = f"{path}.{os.getpid()}"
    if len(os.fsencode(early)) > _LONGEST_SOCKET:
        early = path
    listener.bind(early)
    try:
        os.chmod(early, 0o600)  # noqa: PTH101 - elsewhere the umask decided until here
        listener.listen(backlog)
        if early != path:
            os.link(early, path)
    except FileExistsError:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
    finally:
        if early != path:
            os.unlink(early)  # noqa: PTH108 - a socket's name


def machine() -> str:
    """The host's architecture, as uname says it."""
    return os.uname().machine


def sync_data(fd: int) -> None:
    """Return when the content of a file is on its medium; OSError when it cannot be."""
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync stops at the drive
    if full is not None:
        fcntl.fcntl(fd, full)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def set_aside(fd: int, offset: int, length: int) -> None:
    """Let a file grow to hold a range; where the host can, with its room on the medium."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, length)
    elif os.fstat(fd).st_size < offset + length:
        os.ftruncate(fd, offset + length)


def open_anew(fd: int) -> int | None:
    """The file of a descriptor, opened once more for reading: with none of its locks."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def nameless_file(name: str) -> int:
    """A descriptor of an empty file without a name, in memory where the host has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    import tempfile

    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)  # noqa: PTH108 - a name of mkstemp's
    return fd


#: What /proc/cpuinfo says of a processor that does not change from start to start.
_OF_PROCESSOR: Final = frozenset(
    {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"}
    | {"CPU implementer", "CPU variant", "CPU part", "CPU revision", "Features"}
)


def processor() -> str | None:
    """What the processor can do, as text: where it is the same, the same native code runs.

    None where the host does not say.  Source: Linux, /proc/cpuinfo and getauxval(3).
    """
    try:
        with open("/proc/cpuinfo") as f:  # noqa: PTH123 - pathlib would do no more
            first = f.read(1 << 14).partition("\n\n")[0]
        auxiliary = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):
        return None
    auxiliary.restype, auxiliary.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    said = [line for line in first.split("\n") if line.partition(":")[0].strip() in _OF_PROCESSOR]
    if not said:
        return None
    # AT_HWCAP and AT_HWCAP2: an emulator's, where one runs this.
    return "\n".join([os.uname().machine, f"{auxiliary(16):x} {auxiliary(26):x}", *said])


def prefer_big_pages(memory: mmap.mmap) -> None:
    """Let the host use big pages for a mapping, where it has such: fewer misses of its own TLB."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)


class _Buffer(ctypes.Structure):
    """A `Py_buffer` of CPython's stable ABI, as far as it is looked at."""

    _fields_ = (("buf", ctypes.c_void_p), ("rest", ctypes.c_void_p * 10))


def address_of(memory: mmap.mmap) -> int:
    """Where a mapping lies, one that can only be read too."""
    found = _Buffer()
    python = ctypes.pythonapi
    if python.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(found), 0):
        raise ValueError("no memory there")
    python.PyBuffer_Release(ctypes.byref(found))
    return found.buf or 0


def forget(memory: mmap.mmap) -> None:
    """Give the pages of a private mapping back to the host."""
    memory.madvise(mmap.MADV_DONTNEED)


def empty(memory: mmap.mmap, start: int, length: int) -> bool:
    """Make whole pages of a private mapping zero by giving them back; whether the host does so."""
    if sys.platform != "linux":  # elsewhere the advice need not be taken
        return False
    memory.madvise(mmap.MADV_DONTNEED, start, length)
    return True


#: Advice to madvise(2): what was only read of a file is read again when it is touched.
DONT_NEED: Final = 4


def mappings() -> str:
    """What the mappings of this process hold, as Linux' smaps; empty where the host has none."""
    try:
        with open("/proc/self/smaps") as f:  # noqa: PTH123 - pathlib would do no more
            return f.read()
    except OSError:
        return ""


def page_map(address: int, count: int) -> bytes | None:
    """The host's entries (8 bytes each, its byte order) of `count` pages of this process.

    None where the host has no such table, or does not show it.  Source: Linux, pagemap.
    """
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.pread(fd, count * 8, address // mmap.PAGESIZE * 8)
    except OSError:
        return None
    finally:
        os.close(fd)
    return found if len(found) == count * 8 else None
