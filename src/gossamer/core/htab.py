"""A hashed page table that a hypervisor keeps outside its guest's memory.

Entries lie as the stream's `spapr/htab` has them: 16 big-endian bytes, V then R (Power ISA 2.07
Book III-S 5.7.7), in groups of eight.  Translation reads them and sets R and C; only hypercalls
make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import ConfigError
from gossamer.base.late import np
from gossamer.core import host
from gossamer.core.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY: Final = 16
GROUP: Final = 8
#: What the architecture allows: 256 KiB (SDR1[HTABSIZE] 0) up.
LEAST, MOST = 18, 46

VALID: Final = 1
SECONDARY: Final = 2
LARGE: Final = 4
#: Of R: a store and an access happened.
CHANGED, REFERENCED = 0x80, 0x100

_PAIR: Final = Struct(">QQ")


class HashTable:
    """2**`shift` bytes.

    `gone`: called with the number and V of an entry that was taken away or weakened; `changed`:
    called where that may be any.
    """

    def __init__(self, shift: int) -> None:
        if not LEAST <= shift <= MOST:
            raise ConfigError(f"a page table of 2**{shift} bytes, expected 2**{LEAST} at least")
        self.shift = shift
        self.size = 1 << shift
        self.count = self.size // ENTRY
        self.table = Table(self.size)
        self.address = self.table.address
        #: A byte a group: not zero when translation or a hypercall has written to it.
        self.dirty = Table(self.count // GROUP)
        self.changed: Callable[[], None] = lambda: None
        self.gone: Callable[[int, int], None] = lambda n, v: None

    @property
    def words(self) -> NDArray[np.uint64]:
        """V and R of every entry, as a host's integers of big-endian bytes: shape (count, 2)."""
        return np.frombuffer(self.table.memory, ">u8").reshape(-1, 2)

    def read(self, n: int) -> tuple[int, int]:
        """V and R of entry `n`."""
        v, r = _PAIR.unpack_from(self.table.memory, ENTRY * n)
        return v, r

    def write(self, n: int, v: int, r: int) -> None:
        """Set entry `n`."""
        self.dirty.view[n // GROUP] = 0xFF
        _PAIR.pack_into(self.table.memory, ENTRY * n, v, r)

    @staticmethod
    def page_of(n: int, v: int) -> int:
        """The low 12 bits of the number (of 4 KiB) of the page that entry `n` with this V maps.

        The hash is VSID xor page, and every table has 2,048 groups; V has the page from bit 11 on
        (Power ISA 2.07 Book III-S 5.7.7.4).
        """
        vsid = v >> (24 if v >> 62 == 1 else 12)
        hashed = ~(n // GROUP) if v & SECONDARY else n // GROUP
        return (hashed ^ vsid) & 0x7FF | v << 4 & 0x800

    def free(self, group: int) -> int:
        """The first entry of a group that is not valid; -1 when all are."""
        at = group * GROUP * ENTRY
        for n in range(GROUP):
            if not self.table.memory[at + ENTRY * n + 7] & VALID:
                return group * GROUP + n
        return -1

    def clear(self) -> None:
        """No entry is valid."""
        host.forget(self.table.memory)
        self.dirty.fill(0xFF)
        self.changed()

    def close(self) -> None:
        """Give the memory back to the host."""
        self.table.close()
        self.dirty.close()

    # --- on the wire ------------------------------------------------------------------------------

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Runs of entries that hold something, in order: the first's number, and their bytes.

        A guest may have entered one that is not valid; it can read it back.
        """
        there = np.flatnonzero(self.words.any(axis=1))
        if not len(there):
            return
        breaks = np.flatnonzero(np.diff(there) != 1) + 1
        starts = np.concatenate(([0], breaks))
        ends = np.concatenate((breaks, [len(there)]))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            first, last = int(there[start]), int(there[end - 1]) + 1
            while first < last:
                most = min(last, first + MOST_ENTRIES)
                yield first, bytes(self.table.memory[ENTRY * first : ENTRY * most])
                first = most

    def take(self, first: int, entries: bytes | memoryview, cleared: int) -> None:
        """Entries as a stream has them: some that are valid, then some that are not.

        ValueError when the table has no such entries.
        """
        count = len(entries) // ENTRY
        if first + count + cleared > self.count:
            raise ValueError(
                f"entries {first} to {first + count + cleared}, the table has {self.count}"
            )
        at = ENTRY * first
        self.table.memory[at : at + len(entries)] = bytes(entries)
        at += len(entries)
        self.table.memory[at : at + ENTRY * cleared] = bytes(ENTRY * cleared)


#: A chunk's count of entries has 16 bits.
MOST_ENTRIES: Final = 0xFFFF
