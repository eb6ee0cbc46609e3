"""Address translation of the 6xx/7xx: BATs, segments, hashed page table.  One text for engines.

Where software searches the table (603e), pages are looked up in the TLBs that it fills; a fault
with `NOT_FOUND` is then a miss (`cpu.misses`).

Source: MPC750UM and MPC603eUM chapter 5; Book III (32-bit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Access, Body
from gossamer.isa.expr import Expr, choose, clz, const, eq, ne, select, trunc, zext
from gossamer.isa.spec import software_search
from gossamer.isa.spec.parts import EIGHT_BATS, SOFTWARE_SEARCH, has

MSR_PR: Final = bit(17)
MSR_IR: Final = bit(26)
MSR_DR: Final = bit(27)

#: Fault bits, as in DSISR (data) and SRR1 (fetch).
NOT_FOUND: Final = bit(1)
NO_EXECUTE: Final = bit(3)  # fetch: no-execute segment, guarded page or direct-store segment
PROTECTED: Final = bit(4)
DIRECT_STORE: Final = bit(5)  # data, MPC750UM table 4-9 (DSISR)
STORE: Final = bit(6)

WIMG_REAL: Final = 0b0011  # real mode: memory coherent, guarded (MPC750UM 5.2)
WIMG_W, WIMG_I, WIMG_M, WIMG_G = 8, 4, 2, 1

HIGH_BAT_EN: Final = bit(8)

PTE_R: Final = bit(23)
PTE_C: Final = bit(24)


@dataclass(frozen=True, slots=True)
class Translation:
    """The outcome of a translation.

    `ra` 32 bits; `fault` DSISR or SRR1 bits, zero when the access may go on; `wimg` 4 bits;
    `writable` 1 bit: a store to the page needs nothing more (C is set).
    """

    ra: Expr
    fault: Expr
    wimg: Expr
    writable: Expr


def translate(
    s: Body, ea: Expr, access: Access, features: frozenset[str] = frozenset()
) -> Translation:
    """Translate `ea` (32 bits) for `access` with the present MSR, BATs, SRs and page table.

    Referenced and changed bits are written back as the walk finds them.
    """
    fetch = access is Access.FETCH
    on = ne(s.msr & (MSR_IR if fetch else MSR_DR), 0)
    bats = _match_bats(s, ea, access, features)
    if has(features, SOFTWARE_SEARCH):
        page = _look_up(s, ea, access)
    else:
        page = _walk(s, ea, access, on & ~bats.hit)
    return Translation(
        select(on, select(bats.hit, bats.ra, page.ra), ea),
        select(on, select(bats.hit, bats.fault, page.fault), const(0, 32)),
        select(on, select(bats.hit, bats.wimg, page.wimg), const(WIMG_REAL, 4)),
        ~on | select(bats.hit, bats.writable, page.writable),
    )


@dataclass(frozen=True, slots=True)
class _Bats:
    hit: Expr
    ra: Expr
    fault: Expr
    wimg: Expr
    writable: Expr


def _match_bats(s: Body, ea: Expr, access: Access, features: frozenset[str]) -> _Bats:
    """The block of the lowest-numbered BAT that matches."""
    file = s.ibat if access is Access.FETCH else s.dbat
    user = ne(s.msr & MSR_PR, 0)
    upper, lower, hit = const(0, 32), const(0, 32), const(0, 1)
    more = _more_bats(s, features)
    for n in reversed(range(4 if more is None else 8)):
        u, low = file[2 * n], file[2 * n + 1]
        valid = ne(u & select(user, const(1, 32), const(2, 32)), 0)
        compared = ~((u & 0x1FFC) << 15) & 0xFFFE_0000
        match = valid & eq((ea ^ u) & compared, 0)
        if more is not None and n >= 4:
            match = match & more
        upper, lower, hit = select(match, u, upper), select(match, low, lower), hit | match
    length = (upper & 0x1FFC) << 15
    ra = lower & 0xFFFE_0000 & ~length | ea & (length | 0x1_FFFF)
    pp = lower & 3
    writable = eq(pp, 2)
    allowed = writable if access is Access.WRITE else ne(pp, 0)
    wimg = trunc(lower >> 3, 4)
    fault = select(allowed, const(0, 32), const(PROTECTED, 32))
    if access is Access.FETCH:
        guarded = ne(wimg & WIMG_G, 0)
        fault = select(guarded, const(NO_EXECUTE, 32), fault)
    return _Bats(hit, ra, _with_store(fault, access), wimg, writable)


def _more_bats(s: Body, features: frozenset[str]) -> Expr | None:
    """Whether BATs 4 to 7 take part; None on a part that has none.

    The 750FX has no switch for them, the 7455 and 7447A HID0[HIGH_BAT_EN] (MPC7450UM 2.1.5).
    """
    if not has(features, EIGHT_BATS):
        return None
    if "7450" in features:
        return ne(s.hid0 & HIGH_BAT_EN, 0)
    return const(1, 1)


def _with_store(fault: Expr, access: Access) -> Expr:
    if access is not Access.WRITE:
        return fault
    return select(eq(fault, 0), fault, fault | STORE)


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
    at = select(on, group2, group1) + (zext(clz(first | second), 32) << 3)
    found = ne(first | second, 0)
    low = select(found, s.ram(at + 4, 4), const(0, 32))
    ra = low & 0xFFFF_F000 | ea & 0xFFF
    wimg = trunc(low >> 3, 4)
    fault = _page_fault(sr, key, low, wimg, found, access)
    fault = select(direct, const(_direct_fault(access), 32), fault)
    ok = eq(fault, 0)
    new = low | PTE_R
    if access is Access.WRITE:
        new = new | select(ok, const(PTE_C, 32), const(0, 32))
    s.ram_store(at + 4, new, 4, walking & ~direct & found & ne(new, low))
    pp = low & 3
    may_write = select(key, eq(pp, 2), ne(pp, 3))
    return Translation(ra, fault, wimg, may_write & ne(new & PTE_C, 0))


def _look_up(s: Body, ea: Expr, access: Access) -> Translation:
    """Segment and TLB.  R is not looked at; a store to an unchanged page is a miss."""
    sr = s.sr[ea >> 28]
    fetch = access is Access.FETCH
    found, low = software_search.look_up(s, ea, sr & 0x00FF_FFFF, fetch)
    key = key_of(s, sr)
    wimg = trunc(low >> 3, 4)
    changed = ne(low & PTE_C, 0)
    fault = _page_fault(sr, key, low, wimg, found, access)
    if access is Access.WRITE:
        fault = select(eq(fault, 0) & ~changed, const(NOT_FOUND | STORE, 32), fault)
    fault = select(ne(sr & bit(0), 0), const(_direct_fault(access), 32), fault)
    pp = low & 3
    may_write = select(key, eq(pp, 2), ne(pp, 3))
    return Translation(low & 0xFFFF_F000 | ea & 0xFFF, fault, wimg, may_write & changed)


def key_of(s: Body, sr: Expr) -> Expr:
    """The protection key, 1 bit: Kp or Ks of the segment."""
    return ne(sr & select(ne(s.msr & MSR_PR, 0), const(bit(2), 32), const(bit(1), 32)), 0)


def wanted_of(s: Body, sr: Expr, ea: Expr) -> tuple[Expr, Expr, Expr]:
    """The first word of the PTE looked for (H clear); both groups' real addresses."""
    vsid = sr & 0x00FF_FFFF
    index = (ea >> 12) & 0xFFFF
    hash1 = (vsid & 0x7_FFFF) ^ index
    wanted = const(bit(0), 32) | vsid << 7 | index >> 10
    return wanted, _group(s, hash1), _group(s, hash1 ^ 0x7_FFFF)


def _direct_fault(access: Access) -> int:
    if access is Access.FETCH:
        return NO_EXECUTE
    return DIRECT_STORE | (STORE if access is Access.WRITE else 0)


def _page_fault(sr: Expr, key: Expr, low: Expr, wimg: Expr, found: Expr, access: Access) -> Expr:
    pp = low & 3
    may_write = select(key, eq(pp, 2), ne(pp, 3))
    allowed = may_write if access is Access.WRITE else ~(key & eq(pp, 0))
    fault = select(allowed, const(0, 32), const(PROTECTED, 32))
    fault = select(found, fault, const(NOT_FOUND, 32))
    if access is Access.FETCH:
        guarded = found & ne(wimg & WIMG_G, 0)
        barred = guarded | ne(sr & bit(3), 0)
        fault = select(barred, const(NO_EXECUTE, 32), fault)
    return _with_store(fault, access)


def _group(s: Body, hash_value: Expr) -> Expr:
    """Real address of the PTE group of a 19-bit hash."""
    mask = (s.sdr1 & 0x1FF) << 16 | 0xFFC0
    return s.sdr1 & 0xFFFF_0000 | (hash_value << 6) & (mask & 0x1FF_FFFF)
