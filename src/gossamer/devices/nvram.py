"""Battery-backed memory of a mac-io function: 8 KiB, one byte every `stride` bytes.

Its first content is made by the composition (partitions that Open Firmware reads).  A reset
leaves it alone, as a battery does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.region import Region
from gossamer.state.declare import buffer, wiring

SIZE: Final = 0x2000


class MacioNvram(Device):
    """8192 bytes.  `stride` is the distance of neighbouring bytes on the bus (0x10 on mac-io).

    `written` is called with (offset, value) of each byte a guest changes, so that a file can
    follow.
    """

    vmsd = "macio_nvram"
    version = 1
    minimum = 1

    data: bytearray = buffer(SIZE)

    stride: int = wiring()
    written: Callable[[int, int], None] = wiring()

    def __init__(self, clock: Clock, content: bytes = b"", *, stride: int = 0x10) -> None:
        super().__init__(clock)
        if len(content) > SIZE:
            raise ConfigError(f"nvram: content must be at most {SIZE} bytes, got {len(content)}")
        self.idstr = "macio_nvram"
        self.stride, self.written = stride, _ignore
        self.data = bytearray(content.ljust(SIZE, b"\0"))

    def reset(self) -> None:
        """The battery keeps the content."""

    def region(self) -> Region:
        size = SIZE * self.stride
        return Region(
            *("nvram", size, self.read_byte, self.write_byte),
            widths=(1,),
            still=_always,
            content=self._content,
            stride=self.stride,
        )

    def _content(self) -> bytearray | None:
        """The bytes, where nothing has to follow what is written."""
        return self.data if self.written is _ignore else None

    def read_byte(self, offset: int, _size: int) -> int:
        return self.data[offset // self.stride % SIZE]

    def write_byte(self, offset: int, _size: int, value: int) -> None:
        at = offset // self.stride % SIZE
        if self.data[at] != value & 0xFF:
            self.data[at] = value & 0xFF
            self.written(at, value & 0xFF)


def _always(offset: int) -> bool:
    """Every byte stays until it is written."""
    return True


def _ignore(offset: int, value: int) -> None:
    """No file follows the writes."""
