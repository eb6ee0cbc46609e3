"""Transfer request blocks and the rings that they are on.

A ring is followed through its links; a look at it is bounded, so that no driver can hold the
machine up.  Source: xHCI 1.1, 4.9 and 6.4.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from gossamer.base.data import Data

TRB: Final = 16
_WORDS: Final = Struct("<QII")
MOST_LINKS: Final = 32
"""Links in a row: a ring that goes on so has nothing on it."""

# Types of TRBs on transfer rings.
NORMAL, SETUP, DATA, STATUS, ISOCHRONOUS, LINK, EVENT_DATA, NO_OP = range(1, 9)
# Control word.
CYCLE, TOGGLE, SHORT, CHAIN, ON_COMPLETION, IMMEDIATE = 1, 2, 4, 0x10, 0x20, 0x40


class Event(Data):
    """An event; `length` and `flags` are of a transfer's."""

    kind: int
    code: int
    pointer: int = 0
    length: int = 0
    slot: int = 0
    endpoint: int = 0
    flags: int = 0

    def pack(self, cycle: bool) -> bytes:
        control = self.slot << 24 | self.endpoint << 16 | self.kind << 10 | self.flags | cycle
        return _WORDS.pack(self.pointer, self.length | self.code << 24, control)


class Block(Data):
    """A transfer request block, at bus address `at`."""

    at: int
    parameter: int
    status: int
    control: int

    @property
    def kind(self) -> int:
        return self.control >> 10 & 0x3F

    @property
    def slot(self) -> int:
        return self.control >> 24

    @property
    def cycle(self) -> int:
        return self.control & CYCLE

    @property
    def length(self) -> int:
        """Bytes of its buffer."""
        return self.status & 0x1_FFFF

    @property
    def interrupter(self) -> int:
        return self.status >> 22


class UnreadableError(Exception):
    """A ring leads to where no memory is."""


class Walk:
    """A look at a ring from `at` on, where blocks with this `cycle` bit are the controller's.

    `fetched`: blocks and links so far.
    """

    def __init__(self, fetch: Callable[[int, int], bytes | None], at: int, cycle: int) -> None:
        self.fetch, self.at, self.cycle, self.fetched = fetch, at, cycle, 0

    def next(self) -> Block | None:
        """The next block; None where there is none yet."""
        for _ in range(MOST_LINKS + 1):
            raw = self.fetch(self.at, TRB)
            self.fetched += 1
            if raw is None:
                raise UnreadableError(f"a ring at {self.at:#x}")
            one = Block(self.at, *_WORDS.unpack(raw))
            if one.cycle != self.cycle:
                return None
            if one.kind != LINK:
                self.at += TRB
                return one
            self.at = one.parameter & ~0xF
            if one.control & TOGGLE:
                self.cycle ^= 1
        return None
