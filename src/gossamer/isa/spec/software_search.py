"""Table search by software: the TLBs that it fills, and the registers that it works with.

Source: MPC603eUM chapters 2 (table 2-1: TGPR) and 5.  Each TLB has 32 sets of 2 ways; an entry is
the two words of a PTE and the page that it was loaded for.  `tlb_upper`, `tlb_lower` and
`tlb_page` hold the data TLB's 64 entries and then the instruction TLB's, way 0 of all sets before
way 1; `tlb_way` holds for each set, the data TLB's first, the way that was loaded last.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, const, eq, ne, select, trunc
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XL, X
from gossamer.isa.spec.parts import SOFTWARE_SEARCH
from gossamer.isa.spec.system import MSR_750, RFI_MASK, set_msr

SETS: Final = 32
WAYS: Final = 2
#: Entries of one TLB.
ENTRIES: Final = SETS * WAYS
VALID: Final = bit(0)
MSR_TGPR: Final = bit(14)
#: As the 750's but for PM; TGPR.
MSR_603E: Final = MSR_750 & ~bit(29) | MSR_TGPR
#: EA bit 14: it distinguishes sets of an engine (there are 64), but none of the TLBs'.
OTHER_SETS: Final = bit(14)
SRR1_WAY_SHIFT: Final = 17


def set_of(ea: Expr) -> Expr:
    return ea >> 12 & (SETS - 1)


def matches(s: Body, ea: Expr, vsid: Expr, fetch: Expr) -> list[tuple[Expr, Expr]]:
    """By way: whether it translates `ea` in segment `vsid`, and the number of its entry.

    `fetch` says which TLB: 0 or 1, 32 bits.  The page index takes part, the segment's number does
    not: VSID stands for it.
    """
    wanted = s.word(VALID) | vsid << 7 | ea >> 22 & 0x3F
    out = []
    for way in range(WAYS):
        n = set_of(ea) | way << 5 | fetch << 6
        same = eq(s.tlb_upper[n] & ~bit(25), wanted) & eq((s.tlb_page[n] ^ ea) & 0x0FFF_F000, 0)
        out.append((same, n))
    return out


def look_up(s: Body, ea: Expr, vsid: Expr, fetch: bool) -> tuple[Expr, Expr]:
    """(found, second word) of the entry that translates `ea` in segment `vsid`."""
    found, low = const(0, 1), s.word(0)
    for same, n in reversed(matches(s, ea, vsid, number(int(fetch)))):
        found, low = found | same, select(same, s.tlb_lower[n], low)
    return found, low


def next_way(s: Body, ea: Expr, vsid: Expr, fetch: Expr) -> Expr:
    """The way to load next, 32 bits: that of the entry itself, which lacks C, if it is there.

    Otherwise the other one than last time in this set.
    """
    way = number(s.tlb_way[set_of(ea) | fetch << 5] ^ 1)
    for n, (same, _) in reversed(list(enumerate(matches(s, ea, vsid, fetch)))):
        way = select(same, number(n), way)
    return way


def exchange(s: Body, when: Expr) -> None:
    """GPR0 to GPR3 and their temporary counterparts change places."""
    for n in range(4):
        s.write("gpr", n, s.tgpr[n], when)
        s.write("tgpr", n, s.gpr[n], when)


def forget(s: Body, ea: Expr) -> None:
    """What engines keep of the set's pages, in every segment, no longer holds."""
    s.effect("tlbie", ea)
    s.effect("tlbie", ea ^ OTHER_SETS)


# --- loading and invalidating -----------------------------------------------------------------


def load_entry(s: Body, ea: Expr, upper: Expr, fetch: int) -> None:
    way = s.srr1 >> SRR1_WAY_SHIFT & 1
    n = set_of(ea) | way << 5 | (fetch << 6)
    s.tlb_upper[n] = upper
    s.tlb_lower[n] = s.rpa
    s.tlb_page[n] = ea & 0xFFFF_F000
    s.tlb_way[set_of(ea) | (fetch << 5)] = trunc(way, 8)
    forget(s, ea)


@insn(X, "tlbld RB", OPCD=31, XO=978, supervisor=True, width=32, features=SOFTWARE_SEARCH)
def tlbld(s: Body, i: X) -> None:
    load_entry(s, s.gpr[i.RB], s.dcmp, 0)


@insn(X, "tlbli RB", OPCD=31, XO=1010, supervisor=True, width=32, features=SOFTWARE_SEARCH)
def tlbli(s: Body, i: X) -> None:
    load_entry(s, s.gpr[i.RB], s.icmp, 1)


@insn(
    X,
    "tlbie RB",
    OPCD=31,
    XO=306,
    supervisor=True,
    width=32,
    features=SOFTWARE_SEARCH,
    name="tlbie_603e",
)
def tlbie_603e(s: Body, i: X) -> None:
    """Both ways of the set, in both TLBs."""
    ea = s.gpr[i.RB]
    for fetch in range(2):
        for way in range(WAYS):
            n = set_of(ea) | (way << 5 | fetch << 6)
            s.tlb_upper[n] = s.tlb_upper[n] & ~VALID
    forget(s, ea)


# --- MSR[TGPR] ----------------------------------------------------------------------------------


def set_msr_603e(s: Body, value: Expr) -> None:
    exchange(s, ne((value ^ s.msr) & MSR_TGPR, 0))
    set_msr(s, value)


@insn(
    X,
    "mtmsr RS",
    OPCD=31,
    XO=146,
    supervisor=True,
    width=32,
    features=SOFTWARE_SEARCH,
    name="mtmsr_603e",
)
def mtmsr_603e(s: Body, i: X) -> None:
    set_msr_603e(s, s.gpr[i.RS] & MSR_603E)


@insn(
    XL, "rfi", OPCD=19, XO=50, supervisor=True, width=32, features=SOFTWARE_SEARCH, name="rfi_603e"
)
def rfi_603e(s: Body, _: XL) -> None:
    """TGPR is cleared: SRR1 has no such bit (WAY is there)."""
    taken = RFI_MASK & MSR_603E
    kept = MSR_603E & ~(taken | bit(13) | MSR_TGPR)
    set_msr_603e(s, s.srr1 & taken | s.msr & kept)
    s.branch(s.srr0)
