"""The section `spapr/htab`: a hashed page table that lies outside guest memory, sent beside it.

As QEMU 7.2 writes it.  The first body is log2 of the table's bytes; each other one is a word of
zeros, then records: number of the first entry (4 bytes), how many valid ones follow, how many
behind those are not valid (2 bytes each), and the valid ones; ended by a record of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, Protocol, TypeAlias

from gossamer.migrate.source import Source

IDSTR: Final = "spapr/htab"
VERSION: Final = 1
ENTRY: Final = 16
#: What a guest without such a table has in place of its size (radix translation).
NO_TABLE: Final = 0xFFFF_FFFF

_RECORD: Final = Struct(">IHH")
#: A body with no entries.
NOTHING: Final = bytes(4 + _RECORD.size)

Chunks: TypeAlias = Iterator[tuple[int, bytes]]


class Table(Protocol):
    """A table: 2**`shift` bytes."""

    @property
    def shift(self) -> int: ...

    def chunks(self) -> Chunks:
        """Runs of valid entries: the number of the first one, and their bytes."""

    def take(self, first: int, entries: bytes | memoryview, cleared: int) -> None:
        """Set entries and clear those behind; ValueError when there are no such entries."""


def head(table: Table) -> bytes:
    """The first body."""
    return table.shift.to_bytes(4, "big")


def entries(table: Table) -> bytes:
    """A body with every valid entry."""
    out = bytearray(4)
    for first, data in table.chunks():
        out += _RECORD.pack(first, len(data) // ENTRY, 0) + data
    return bytes(out + bytes(_RECORD.size))


def skip(source: Source, *, first: bool) -> None:
    """Pass over a body."""
    if source.uint(4) == NO_TABLE or first:
        return
    while any(record := _RECORD.unpack(source.take(_RECORD.size))):
        source.skip(ENTRY * record[1])


def read(table: Table, source: Source, *, first: bool) -> None:
    """Read a body into the table; `first`: that which says how large it is."""
    size = source.uint(4)
    if first:
        if size != table.shift:
            what = "none" if size == NO_TABLE else f"2**{size} bytes"
            raise source.error(f"a page table of {what}, this machine's has 2**{table.shift}")
        return
    if size:
        raise source.error(f"a page table's size again ({size:#x}), expected entries")
    while True:
        number, valid, cleared = _RECORD.unpack(source.take(_RECORD.size))
        if not (number or valid or cleared):
            return
        try:
            table.take(number, source.take(ENTRY * valid), cleared)
        except ValueError as fault:
            raise source.error(str(fault)) from None
