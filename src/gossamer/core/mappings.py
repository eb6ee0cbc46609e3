"""Memory that comes from a file as it is touched: private mappings put over a part of another.

What the standard library cannot do: it chooses the address of a mapping itself.  Linux only;
elsewhere nothing is mapped, and the caller reads the file instead.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gossamer.core import host
from gossamer.core.host import MAP_NORESERVE

_MAP_FIXED: Final = 0x10
_MADV_POPULATE_WRITE: Final = 23
"""Linux 5.14: pages of a private mapping become the process's own, as writing would make them."""
_FAILED: Final = ctypes.c_void_p(-1).value
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE


@functools.cache
def _calls() -> tuple[Callable[..., int | None], Callable[..., int]] | None:
    """The host's mmap and madvise, which let other threads go on."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    place, advise = library.mmap, library.madvise
    place.restype = ctypes.c_void_p
    place.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return place, advise


@functools.cache
def can_map() -> bool:
    """Whether this host can put a file under memory and make that memory its own afterwards.

    It is tried: an emulator of another CPU takes an advice that it does not know for carried out.
    """
    size = mmap.PAGESIZE
    if _calls() is None:
        return False
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE) as probe:
        address = ctypes.addressof(pinned := ctypes.c_char.from_buffer(probe))
        fd = host.nameless_file("probe")
        try:
            os.pwrite(fd, b"a" * size, 0)
            works = map_file(address, size, fd, 0) and make_own(address, size)
            os.pwrite(fd, b"b" * size, 0)
            works = works and probe[:1] == b"a"
        except OSError:
            works = False
        finally:
            os.close(fd)
        del pinned
    return works


def map_file(address: int, length: int, fd: int, offset: int) -> bool:
    """Let [address, address + length) show a file from `offset` on, privately; whether it does.

    The range must be the caller's, all of it pages of the host; what was there is gone.
    """
    calls = _calls()
    if calls is None or (address | length | offset) % mmap.PAGESIZE:
        return False
    flags = mmap.MAP_PRIVATE | _MAP_FIXED | MAP_NORESERVE
    return calls[0](address, length, _READ_WRITE, flags, fd, offset) != _FAILED


def give_back(ending: str) -> int:
    """Let the host take back what is only read of files whose names end so, and free memory.

    It comes from the file again as it is touched.  The bytes that were there; 0 where the host
    does not say what a mapping holds.  Pages that were written to, as relocations are, stay.
    """
    calls = _calls()
    if calls is None:
        return 0
    gone = there = start = length = 0
    for line in host.mappings().split("\n"):
        head, _, rest = line.partition(" ")
        if not head.endswith(":"):
            start, length = 0, 0
            if line.endswith(ending) and rest[:2] == "r-":
                first, _, last = head.partition("-")
                start, length = int(first, 16), int(last, 16) - int(first, 16)
        elif length and head == "Rss:":
            there = int(rest.split()[0]) << 10
        elif length and head == "Anonymous:" and rest.split()[0] == "0":
            gone += there
            calls[1](start, length, host.DONT_NEED)
    _trim()
    return gone


def _trim() -> None:
    """Let the C library give back what it keeps free."""
    with suppress(AttributeError):  # another library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def map_nothing(address: int, length: int) -> None:
    """Let a range that `map_file` was given be new memory again, all zero."""
    calls = _calls()
    assert calls is not None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED | MAP_NORESERVE
    if calls[0](address, length, _READ_WRITE, flags, -1, 0) == _FAILED:
        raise MemoryError("the host takes no memory back")


def make_own(address: int, length: int) -> bool:
    """Copy what a private mapping still shares with its file; whether the host can.

    What was written to it stays, and may be written to meanwhile.
    """
    calls = _calls()
    return calls is not None and calls[1](address, length, _MADV_POPULATE_WRITE) == 0
