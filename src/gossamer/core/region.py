"""MMIO regions: where a chip's registers are reached from.

A chip offers `read(offset, size) -> value` and `write(offset, size, value)`.  Values are what a
big-endian CPU puts on or takes off the bus; `little=True` swaps the bytes of the lane for chips
with little-endian registers (PCI), so that the chip sees numbers as its manual writes them.
`widths` are the access sizes that the chip takes; other sizes are split into its smallest one or
passed as the largest.

A register is *still* when reading it changes nothing and what is read stays the same until the
next alarm, the next store to any chip, the next read that is not still, or an input from outside.
`still(offset)` says whether the register at an offset is that now, `idle(offset, value)` whether a
write of `value` would change nothing just as long; an engine may then see to further such accesses
itself.  A register whose value follows the time is never still.

Accesses that are a function of the chips' faces are learned (`core.faces`): `learns(offset,
value)` says whether one is (`value` None: a load), `take(offset, value)` gets the values of data
stores that an engine has carried out.  What is still must not depend on a face.

A chip that is nothing but bytes says so with `content()`: one of its bytes every `stride` bytes,
read and written one at a time.  An engine may see to such accesses in them.  None: not now.

A chip whose registers a guest's drivers use for each request may offer `reader(offset, size)` and
`writer(offset, size)`: one call without detours that does what that access does, or None.  Their
values are those on the bus (`swap`).  Such an access is neither still nor learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_ONES: Final = tuple((1 << 8 * size) - 1 for size in range(9))
Read = Callable[[int, int], int]
Write = Callable[[int, int, int], None]
Reader = Callable[[int, int], Callable[[], int] | None]
Writer = Callable[[int, int], Callable[[int], None] | None]


class Region:
    """A range of registers, `size` bytes."""

    __slots__ = (
        *("_read", "_write", "cell", "idle", "learns", "little", "name", "size", "still", "take"),
        *("content", "plain", "reader", "stride", "widths", "writer"),
    )

    def __init__(
        self,
        name: str,
        size: int,
        read: Read,
        write: Write,
        *,
        widths: tuple[int, ...] = (1, 2, 4),
        little: bool = False,
        still: Callable[[int], bool] | None = None,
        idle: Callable[[int, int], bool] | None = None,
        learns: Callable[[int, int | None], int] | None = None,
        take: Callable[[int, int], None] | None = None,
        reader: Reader | None = None,
        writer: Writer | None = None,
        content: Callable[[], bytearray | None] | None = None,
        stride: int = 1,
    ) -> None:
        self.name, self.size = name, size
        self._read, self._write = read, write
        self.widths, self.little = widths, little
        self.still, self.idle = still, idle
        self.learns, self.take = learns, take
        self.reader, self.writer = reader, writer
        self.content, self.stride = content, stride
        #: All there is to its accesses is to carry them out.
        self.plain = still is None and idle is None and learns is None and content is None
        #: For a region made of others: the (start, end, region) that holds an offset.
        self.cell: Callable[[int], tuple[int, int, Region] | None] | None = None

    def load(self, offset: int, size: int) -> int:
        """One access by the CPU: the big-endian value of `size` bytes."""
        if size in self.widths:
            value = self._read(offset, size) & _ONES[size]
            return swap(value, size) if self.little and size > 1 else value
        step = max((w for w in self.widths if w < size), default=0)
        if not step:
            step = min(self.widths)
            if offset % step + size > step:
                parts = (self.load(offset + n, 1) for n in range(size))
                return int.from_bytes(bytes(parts), "big")
            value = self.load(offset & -step, step)
            return value >> 8 * (step - size - offset % step) & ((1 << 8 * size) - 1)
        value = 0
        for n in range(0, size, step):
            value = value << 8 * step | self.load(offset + n, step)
        return value

    def store(self, offset: int, value: int, size: int) -> None:
        """One access by the CPU of `size` bytes."""
        if size in self.widths:
            self._write(offset, size, swap(value, size) if self.little and size > 1 else value)
            return
        step = max((w for w in self.widths if w < size), default=0)
        if not step:
            step = min(self.widths)
            if offset % step + size > step:
                for n, byte in enumerate(value.to_bytes(size, "big")):
                    self.store(offset + n, byte, 1)
                return
            shift = 8 * (step - size - offset % step)
            self.store(offset & -step, value << shift, step)
            return
        for n in range(0, size, step):
            part = value >> 8 * (size - n - step) & ((1 << 8 * step) - 1)
            self.store(offset + n, part, step)


def swap(value: int, size: int) -> int:
    """The bytes of a value in the other order."""
    return int.from_bytes(value.to_bytes(size, "big"), "little")
