"""Tables in the host's memory that Python and native code share."""

from __future__ import annotations

import ctypes
import mmap
from functools import cached_property
from struct import calcsize
from typing import TYPE_CHECKING, Any, Final, Literal

from gossamer.base.late import np
from gossamer.core import host

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A fork of the process has a table of its own.
PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Table:
    """`count` items, zeros to begin with; `code` is an item's type, as `struct` has it.

    `view` is the memory item by item, `array` the same for numpy, `address` where native code
    finds it.  The host gives memory to what is written only.
    """

    def __init__(self, count: int, code: Literal["B", "H", "I", "Q"] = "B") -> None:
        self.count, self.code = count, code
        self.memory = mmap.mmap(-1, count * calcsize(code), PRIVATE)
        self.view = memoryview(self.memory).cast(code)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    @cached_property
    def array(self) -> NDArray[Any]:
        return np.frombuffer(self.memory, self.code)

    def fill(self, byte: int, start: int = 0, end: int | None = None) -> None:
        """Set each byte of the items from `start` to `end`."""
        size = calcsize(self.code)
        length = (self.count if end is None else end) - start
        ctypes.memset(self.address + start * size, byte, length * size)

    def empty(self, start: int, end: int) -> None:
        """Set the items from `start` to `end` to zero; the host's pages inside go back to it."""
        size, page = calcsize(self.code), mmap.PAGESIZE
        first, last = start * size, end * size
        whole, rest = -(-first // page) * page, last // page * page
        if whole >= rest or not host.empty(self.memory, whole, rest - whole):
            self.fill(0, start, end)
            return
        ctypes.memset(self.address + first, 0, whole - first)
        ctypes.memset(self.address + rest, 0, last - rest)

    def close(self) -> None:
        """Give the memory back; what is read from it afterwards is zero."""
        host.forget(self.memory)
