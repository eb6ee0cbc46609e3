"""Hypercalls on the hashed page table: hcall-pft and hcall-bulk (LoPAR 14.5.4.1).

What an entry may say is checked as QEMU 7.2 does it: RAM is cacheable, other addresses are not.
Measured there, too: H_CLEAR_MOD and H_CLEAR_REF are not known, and a bulk response has R and C
below where the book puts them.  QEMU's own mark in V (0x40: changed since it was sent) is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.core.htab import CHANGED, GROUP, REFERENCED, VALID, HashTable
from gossamer.devices.spapr.calls import (
    FIRST,
    HARDWARE,
    NOT_FOUND,
    PARAMETER,
    PTEG_FULL,
    SUCCESS,
    Handler,
    Registers,
    arguments,
    results,
)

H_REMOVE, H_ENTER, H_READ, H_PROTECT = 0x4, 0x8, 0xC, 0x18
H_BULK_REMOVE: Final = 0x124

# Flags (LoPAR table 169), bits counted from the left of 64.
ZERO_PAGE, COPY_PAGE = 1 << 15, 1 << 14
EXACT, READ_4 = 1 << 39, 1 << 37
AVPN, ANDCOND = 1 << 31, 1 << 30

# V
LARGE: Final = 0x4
SOFTWARE: Final = 0x7F
#: Bits of V that an H_ENTER does not set: those of the hypervisor.
V_RESERVED: Final = 0x60
# R
PP0, PP, N = 1 << 63, 3, 4
KEY_HIGH, KEY_LOW = 0x3000_0000_0000_0000, 0x0E00
RPN: Final = 0x0FFF_FFFF_FFFF_F000
WRITE_THROUGH, INHIBITED, COHERENT, GUARDED = 0x40, 0x20, 0x10, 0x08
PROTECTION: Final = PP0 | PP | N | KEY_HIGH | KEY_LOW
#: What a large page has in the low bits of its RPN (LP) begins here.
LP_SHIFT: Final = 12

# Of the first doubleword of a bulk request
TYPE, REQUEST, RESPONSE, END = 0xC0 << 56, 0x40 << 56, 0x80 << 56, 0xC0 << 56
BULK_FLAGS: Final = 0x03 << 56
BULK_AVPN, BULK_ANDCOND = 0x02 << 56, 0x01 << 56
PTEX: Final = (1 << 56) - 1
CODE_SHIFT: Final = 60
#: From a bulk request's flags to those of H_REMOVE, and from R's R and C to a response's.
FLAGS_SHIFT, RC_SHIFT = 26, 43
CODES: Final = {SUCCESS: 0, NOT_FOUND: 1, PARAMETER: 2, HARDWARE: 3}
MOST_BULK: Final = 4


class PageTableCalls:
    """The calls of one machine.

    `ram_size`: real addresses below are RAM, bytes; `large`: pages of more than 4 KiB, log2 of each
    and what the low bits of its RPN say, the first that fits counts.
    """

    def __init__(
        self, table: HashTable, ram_size: int, large: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.table, self.ram_size = table, ram_size
        self.large = [(1 << shift, encoding << LP_SHIFT) for shift, encoding in large]

    def handlers(self) -> dict[int, Handler]:
        return {
            H_ENTER: self.enter,
            H_REMOVE: self.remove,
            H_READ: self.read,
            H_PROTECT: self.protect,
            H_BULK_REMOVE: self.bulk_remove,
        }

    def enter(self, regs: Registers) -> int:
        """r4 flags, r5 index, r6 V, r7 R: the entry's index in r4."""
        flags, index, v, r = arguments(regs, 4)
        size = self._page_size(v, r)
        if size == 0:
            return PARAMETER
        real = r & RPN & -size
        wimg = r & (WRITE_THROUGH | INHIBITED | COHERENT | GUARDED)
        if (
            (wimg != COHERENT)
            if real < self.ram_size
            else (wimg & (WRITE_THROUGH | INHIBITED) != INHIBITED)
        ):
            return PARAMETER
        if index >= self.table.count:
            return PARAMETER
        if flags & EXACT:
            if self.table.read(index)[0] & VALID:
                return PTEG_FULL
        else:
            index = self.table.free(index // GROUP)
            if index < 0:
                return PTEG_FULL
        self.table.write(index, v & ~V_RESERVED, r)
        self.table.gone(index, v)  # another entry for the page may lie behind this one
        results(regs, index)
        return SUCCESS

    def _page_size(self, v: int, r: int) -> int:
        """Bytes of the page that an entry maps; 0 when there is no such page."""
        if not v & LARGE:
            return 4096
        for size, encoding in self.large:
            if r & RPN & size - 1 == encoding:
                return size
        return 0

    def remove(self, regs: Registers) -> int:
        """r4 flags, r5 index, r6 AVPN: what V and R were in r4, r5."""
        flags, index, avpn = arguments(regs, 3)
        code, v, r = self._remove(flags, index, avpn)
        if code == SUCCESS:
            results(regs, v, r)
        return code

    def _remove(self, flags: int, index: int, avpn: int) -> tuple[int, int, int]:
        if index >= self.table.count:
            return PARAMETER, 0, 0
        v, r = self.table.read(index)
        if not v & VALID or not _fits(flags, v, avpn):
            return NOT_FOUND, 0, 0
        self.table.write(index, 0, 0)
        self.table.gone(index, v)
        return SUCCESS, v, r

    def bulk_remove(self, regs: Registers) -> int:
        """r4, r5 … r10, r11: up to four requests, each with its AVPN; answers in their place."""
        for n in range(FIRST, FIRST + 2 * MOST_BULK, 2):
            word, avpn = regs.get("gpr", n), regs.get("gpr", n + 1)
            if word & TYPE == END:
                break
            if word & TYPE != REQUEST:
                return PARAMETER
            word = word & (PTEX | BULK_FLAGS) | RESPONSE
            if word & BULK_AVPN and word & BULK_ANDCOND:
                regs.set("gpr", word | CODES[PARAMETER] << CODE_SHIFT, n)
                return PARAMETER
            flags = (word & BULK_FLAGS) >> FLAGS_SHIFT
            code, _, r = self._remove(flags, word & PTEX, avpn)
            word |= CODES[code] << CODE_SHIFT
            if code == SUCCESS:
                word |= (r & (REFERENCED | CHANGED)) << RC_SHIFT
            regs.set("gpr", word, n)
            if code in (PARAMETER, HARDWARE):
                return code
        return SUCCESS

    def protect(self, regs: Registers) -> int:
        """r4 flags, with the new protection, r5 index, r6 AVPN."""
        flags, index, avpn = arguments(regs, 3)
        if index >= self.table.count:
            return PARAMETER
        v, r = self.table.read(index)
        if not v & VALID or (flags & AVPN and v & ~SOFTWARE != avpn):
            return NOT_FOUND
        r &= ~PROTECTION
        r |= flags << 55 & PP0 | flags << 48 & KEY_HIGH | flags & (PP | N | KEY_LOW)
        self.table.write(index, v, r)
        self.table.gone(index, v)
        return SUCCESS

    def read(self, regs: Registers) -> int:
        """r4 flags, r5 index: one entry in r4, r5, or its four neighbours up to r11."""
        flags, index = arguments(regs, 2)
        if index >= self.table.count:
            return PARAMETER
        count = 4 if flags & READ_4 else 1
        index &= -count
        results(regs, *(word for n in range(count) for word in self.table.read(index + n)))
        return SUCCESS


def _fits(flags: int, v: int, avpn: int) -> bool:
    if flags & AVPN and v & ~SOFTWARE != avpn:
        return False
    return not (flags & ANDCOND and v & avpn)
