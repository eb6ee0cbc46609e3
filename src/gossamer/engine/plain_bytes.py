"""A chip that is nothing but bytes (`core.region`), which native code reads and writes itself."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from gossamer.core.region import Region


class PlainBytes:
    """The one chip whose bytes native code sees to now; `put` sets a field of the context."""

    def __init__(self, put: Callable[[str, int], None]) -> None:
        self._put = put
        #: The chip, its bytes, and what holds them where they are.
        self._chip: tuple[Region, bytearray, ctypes.c_char] | None = None

    def found(self, low: int, high: int, base: int, region: Region) -> None:
        """A chip is bytes from `low` up to `high`: native code sees to them from now on."""
        content = None if region.content is None else region.content()
        if content is None or region.stride.bit_count() != 1:
            return
        held = ctypes.c_char.from_buffer(content)
        self._chip = region, content, held
        self._put("bytes_at", low)
        self._put("bytes_size", high - low)
        self._put("bytes_first", low - base)
        self._put("bytes_shift", region.stride.bit_length() - 1)
        self._put("bytes", ctypes.addressof(held))

    def look(self) -> None:
        """Before a run: a load may have given the chip other bytes."""
        if self._chip is not None:
            region, content, _ = self._chip
            if region.content is None or region.content() is not content:
                self.forget()

    def forget(self) -> None:
        """The map changed: Python is asked again."""
        self._put("bytes_size", 0)
        self._chip = None
