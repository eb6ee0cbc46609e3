"""The 32-bit MMU of the 6xx and 7xx: BATs, segments and a hashed page table in memory.

Source: MPC750UM chapter 5; Book III (32-bit).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.base.data import Data
from gossamer.cpu import bats
from gossamer.cpu.translation import (
    DIRECT_STORE,
    MSR_DR,
    MSR_IR,
    MSR_PR,
    NO_EXECUTE,
    NO_VECTORS,
    NOT_FOUND,
    PROTECTED,
    STORE,
    WIMG_G,
    WIMG_REAL,
    Translation,
    with_store,
)
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, choose, clz, const, eq, ne, select, trunc
from gossamer.isa.interrupts import Access

PTE_R: Final = bit(23)
PTE_C: Final = bit(24)


class Hashed(Data):
    """Segments and a page table that hardware searches.

    Referenced and changed bits are written back as the walk finds them.
    """

    architecture: Architecture
    lacking = ""
    searches_by_software = False
    miss = 0
    miss_vectors = NO_VECTORS

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        on = translates(s, access)
        block = bats.match(s, ea, access, self.architecture)
        page = _walk(s, ea, access, on & ~block.hit)
        return joined(s, on, block, page, ea)

    def enter(self, s: Body) -> None:
        """Nothing but what every part does."""

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        raise AssertionError("hardware searches the table")


def translates(s: Body, access: Access) -> Expr:
    """Whether MSR has translation on for such an access."""
    return ne(s.msr & (MSR_IR if access is Access.FETCH else MSR_DR), 0)


def joined(s: Body, on: Expr, block: bats.Block, page: Translation, ea: Expr) -> Translation:
    """The block's outcome before the page's; neither where translation is off."""
    hit, b = block.hit, block.translation
    return Translation(
        select(on, select(hit, b.ra, page.ra), ea),
        select(on, select(hit, b.fault, page.fault), s.word(0)),
        select(on, select(hit, b.wimg, page.wimg), const(WIMG_REAL, 4)),
        ~on | select(hit, b.writable, page.writable),
    )


def _walk(s: Body, ea: Expr, access: Access, walking: Expr) -> Translation:
    """Segment and page table, looked at only when `walking`; the second group when needed."""
    sr = s.sr[ea >> 28]
    direct = ne(sr & bit(0), 0)
    key = key_of(s, sr)
    wanted, group1, group2 = wanted_of(s, sr, ea)
    nothing = const(0, 8)
    first = choose(walking, s.ram_find(group1, wanted), nothing)
    on = walking & eq(first, 0)
    second = choose(on, s.ram_find(group2, wanted | bit(25)), nothing)
    at = select(on, group2, group1) + (s.word(clz(first | second)) << 3)
    found = ne(first | second, 0)
    low = select(found, s.ram(at + 4, 4), s.word(0))
    ra = low & 0xFFFF_F000 | ea & 0xFFF
    wimg = trunc(low >> 3, 4)
    fault = page_fault(s, sr, key, low, wimg, found, access)
    fault = select(direct, s.word(direct_fault(access)), fault)
    ok = eq(fault, 0)
    new = low | PTE_R
    if access is Access.WRITE:
        new = new | select(ok, s.word(PTE_C), s.word(0))
    s.ram_store(at + 4, new, 4, walking & ~direct & found & ne(new, low))
    pp = low & 3
    may_write = select(key, eq(pp, 2), ne(pp, 3))
    return Translation(ra, fault, wimg, may_write & ne(new & PTE_C, 0))


def key_of(s: Body, sr: Expr) -> Expr:
    """The protection key, 1 bit: Kp or Ks of the segment."""
    return ne(sr & select(ne(s.msr & MSR_PR, 0), s.word(bit(2)), s.word(bit(1))), 0)


def wanted_of(s: Body, sr: Expr, ea: Expr) -> tuple[Expr, Expr, Expr]:
    """The first word of the PTE looked for (H clear); both groups' real addresses."""
    vsid = sr & 0x00FF_FFFF
    index = (ea >> 12) & 0xFFFF
    hash1 = (vsid & 0x7_FFFF) ^ index
    wanted = s.word(bit(0)) | vsid << 7 | index >> 10
    return wanted, _group(s, hash1), _group(s, hash1 ^ 0x7_FFFF)


def direct_fault(access: Access) -> int:
    """Fault bits of an access to a direct-store segment."""
    if access is Access.FETCH:
        return NO_EXECUTE
    return DIRECT_STORE | (STORE if access is Access.WRITE else 0)


def page_fault(
    s: Body, sr: Expr, key: Expr, low: Expr, wimg: Expr, found: Expr, access: Access
) -> Expr:
    """Fault bits of an access to a page whose PTE's second word is `low`, where it was found."""
    pp = low & 3
    may_write = select(key, eq(pp, 2), ne(pp, 3))
    allowed = may_write if access is Access.WRITE else ~(key & eq(pp, 0))
    fault = select(allowed, s.word(0), s.word(PROTECTED))
    fault = select(found, fault, s.word(NOT_FOUND))
    if access is Access.FETCH:
        guarded = found & ne(wimg & WIMG_G, 0)
        barred = guarded | ne(sr & bit(3), 0)
        fault = select(barred, s.word(NO_EXECUTE), fault)
    return with_store(fault, access)


def _group(s: Body, hash_value: Expr) -> Expr:
    """Real address of the PTE group of a 19-bit hash."""
    mask = (s.sdr1 & 0x1FF) << 16 | 0xFFC0
    return s.sdr1 & 0xFFFF_0000 | (hash_value << 6) & (mask & 0x1FF_FFFF)
