"""Block address translation: BATs.  Source: MPC750UM 5.3; MPC7450UM 2.1.5, 5.3."""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.base.data import Data
from gossamer.cpu.translation import (
    MSR_PR,
    NO_EXECUTE,
    PROTECTED,
    WIMG_G,
    Translation,
    with_store,
)
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, ne, select, trunc
from gossamer.isa.interrupts import Access
from gossamer.isa.spec.parts import EIGHT_BATS

HIGH_BAT_EN: Final = bit(8)


class Block(Data):
    """The block that an address lies in; `hit` 1 bit: there is one."""

    hit: Expr
    translation: Translation


def match(s: Body, ea: Expr, access: Access, architecture: Architecture) -> Block:
    """The block of the lowest-numbered BAT that matches."""
    file = s.ibat if access is Access.FETCH else s.dbat
    user = ne(s.msr & MSR_PR, 0)
    upper, lower, hit = s.word(0), s.word(0), const(0, 1)
    more = _more(s, architecture)
    for n in reversed(range(4 if more is None else 8)):
        u, low = file[2 * n], file[2 * n + 1]
        valid = ne(u & select(user, s.word(1), s.word(2)), 0)
        compared = ~((u & 0x1FFC) << 15) & 0xFFFE_0000
        here = valid & eq((ea ^ u) & compared, 0)
        if more is not None and n >= 4:
            here = here & more
        upper, lower, hit = select(here, u, upper), select(here, low, lower), hit | here
    length = (upper & 0x1FFC) << 15
    ra = lower & 0xFFFE_0000 & ~length | ea & (length | 0x1_FFFF)
    pp = lower & 3
    writable = eq(pp, 2)
    allowed = writable if access is Access.WRITE else ne(pp, 0)
    wimg = trunc(lower >> 3, 4)
    fault = select(allowed, s.word(0), s.word(PROTECTED))
    if access is Access.FETCH:
        guarded = ne(wimg & WIMG_G, 0)
        fault = select(guarded, s.word(NO_EXECUTE), fault)
    return Block(hit, Translation(ra, with_store(fault, access), wimg, writable))


def _more(s: Body, architecture: Architecture) -> Expr | None:
    """Whether BATs 4 to 7 take part; None on a part that has none.

    The 750FX has no switch for them, the 7455 and 7447A HID0[HIGH_BAT_EN] (MPC7450UM 2.1.5).
    """
    if not architecture.has(EIGHT_BATS):
        return None
    if "7450" in architecture.features:
        return ne(s.hid0 & HIGH_BAT_EN, 0)
    return const(1, 1)
