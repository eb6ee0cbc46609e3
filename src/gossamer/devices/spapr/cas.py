"""ibm,client-architecture-support: what a guest and its platform agree on (LoPAR B.6.2.3).

The guest says which processors it runs on, as pairs of mask and PVR, and which options it knows, as
bit vectors.  The answers are those of QEMU 7.2, tried with vectors of every kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.devices.spapr.calls import HARDWARE, PARAMETER, SUCCESS, GuestRam
from gossamer.isa.compat import Level

METHOD: Final = "ibm,client-architecture-support"
#: Pairs that are looked at; one whose PVR has a bit outside its mask is the last.
MOST_PVRS: Final = 512
OPTIONS: Final = 5


def option(byte: int, bit: int) -> int:
    """A bit of an option vector, whose first byte has number 1 and first bit number 0."""
    return 1 << 8 * (byte - 1) + bit


# Options of vector 5 (LoPAR table 254).
MEMORY_CONNECTORS: Final = option(2, 2)
ASSOCIATIVITY_1, ASSOCIATIVITY_2 = option(5, 0), option(5, 2)
HOT_PLUG_EVENTS: Final = option(6, 5)
MEMORY_LISTS: Final = option(22, 0)
#: Interrupts by XIVE; radix trees beside hashed tables: what this platform cannot be.
XIVE, BOTH_TREES = option(23, 1), option(24, 0)


class Agreement(Data):
    """What came of it: the return code, the level, and the options of vector 5 as bits.

    `level`: None: the CPU as it is.  `known` says whether the guest's PVRs could be answered at
    all, so that the level counts; `why`: what is wrong.
    """

    code: int
    known: bool = False
    level: Level | None = None
    options: int = 0
    why: str = ""

    def but(self, why: str) -> Agreement:
        """The same, with what is wrong."""
        return replace(self, why=why)


class Platform(Data):
    """One side: the CPU's PVR, its levels from the lowest on, the highest allowed, its options.

    `limit`: None: all of `levels`, and the CPU as it is.
    """

    pvr: int
    levels: Sequence[Level]
    limit: Level | None
    options: int

    def negotiate(self, ram: GuestRam, at: int) -> Agreement:
        """Read what the guest says at `at`, and answer."""
        found = list(_pvrs(ram, at))
        if not ram.has(at, 8 * len(found) + 1):
            return Agreement(PARAMETER, why=f"processors at {at:#x}: outside memory")
        best, exact = self._best(found)
        if best is None and (not exact or self.limit is not None):
            return Agreement(HARDWARE, why="the guest runs on no such processor")
        mine = Agreement(PARAMETER, known=True, level=best)
        asked = vector(ram, at + 8 * len(found), OPTIONS)
        if asked is None:
            return mine.but("option vector 5 is missing")
        if asked & XIVE:
            return mine.but("the guest asks for XIVE, there is none")
        if asked & BOTH_TREES:
            return mine.but("the guest asks for hashed and radix tables at once")
        return Agreement(SUCCESS, True, best, asked & self.options)

    def _best(self, found: Sequence[tuple[int, int]]) -> tuple[Level | None, bool]:
        """The highest level that the guest knows, and whether it knows the CPU itself."""
        allowed = list(self.levels)
        if self.limit is not None:
            allowed = allowed[: allowed.index(self.limit) + 1]
        exact, values = False, set()
        for mask, value in found:
            if not (self.pvr ^ value) & mask:
                exact = True
            else:
                values.add(value)
        best = None
        for level in allowed:
            if level.pvr in values:
                best = level
        return best, exact


def _pvrs(ram: GuestRam, at: int) -> Iterator[tuple[int, int]]:
    """Pairs of mask and PVR with the last one; it ends at the end of memory, too."""
    for n in range(MOST_PVRS):
        if not ram.has(at + 8 * n, 8):
            return
        mask, value = ram.uint(at + 8 * n, 4), ram.uint(at + 8 * n + 4, 4)
        yield mask, value
        if value & ~mask:
            return


def vector(ram: GuestRam, at: int, number: int) -> int | None:
    """The bits of an option vector in the table at `at`; None where there is none in memory."""
    if not ram.has(at) or number > ram.uint(at, 1) + 1:
        return None
    at += 1
    for n in range(1, number + 1):
        if not ram.has(at):
            return None
        length = ram.uint(at, 1) + 1
        if n == number:
            return bits(ram.read(at + 1, length)) if ram.has(at + 1, length) else None
        at += 1 + length
    return None


def bits(data: bytes) -> int:
    """A vector's bytes, whose first bits are the most significant ones."""
    return int.from_bytes(bytes(_MIRRORED[byte] for byte in data), "little")


def as_property(options: int) -> bytes:
    """The same as a property of the tree: how many bytes follow after the first, then these."""
    length = max((options.bit_length() + 7) // 8, 1)
    return bytes([length - 1, *(_MIRRORED[byte] for byte in options.to_bytes(length, "little"))])


_MIRRORED: Final = tuple(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
