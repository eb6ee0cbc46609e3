"""Memory for code: one file in memory, mapped once to write and once to execute."""

from __future__ import annotations

import mmap
import os
from typing import Final

from gossamer.base.errors import HostError
from gossamer.core import host

ALIGNMENT: Final = 64


class CodeArena:
    """Room for code that is given out in order and taken back all at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        try:
            handle = host.nameless_file("gossamer-code")
            try:
                os.ftruncate(handle, size)
                self._write = mmap.mmap(handle, size, mmap.MAP_SHARED)
                self._run = mmap.mmap(
                    handle, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC
                )
            finally:
                os.close(handle)
        except OSError as e:
            raise HostError(f"memory for code: {e.strerror or e}, {size} bytes asked for") from e
        #: Address of the code as it runs, and as it is written.
        self.base = host.address_of(self._run)
        self.writable = host.address_of(self._write)

    def reserve(self, size: int, alignment: int = ALIGNMENT) -> int | None:
        """Offset of `size` bytes, None when the arena is full."""
        at = -(-self.used // alignment) * alignment
        if at + size > self.size:
            return None
        self.used = at + size
        return at

    def put(self, at: int, data: bytes) -> None:
        self._write[at : at + len(data)] = data

    def get(self, at: int, size: int) -> bytes:
        return self._write[at : at + size]

    def close(self) -> None:
        """Give the memory back; nothing of it may run any more."""
        self._write.close()
        self._run.close()

    def clear(self) -> None:
        """Take everything back; nothing of it may run any more."""
        self.used = 0
