"""What the 405 has of its own beside its TLB: MSR, critical returns, DCRs, cache control.

Source: PPC405 core user's manual chapters 2, 9 and 10.  There are no caches to keep.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, const, eq
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XFX, XL, X
from gossamer.isa.spec.parts import EMBEDDED

#: WE, CE, EE, PR, FP, ME, FE0, DWE, DE, FE1, IR, DR.
MSR_405: Final = 0x0006_FF30
MSR_EE: Final = bit(16)
#: An access to a DCR, in the argument of the effect `dcr`.
DCR_WRITE: Final = 1 << 15


def set_msr(s: Body, value: Expr) -> None:
    s.msr = value & MSR_405
    s.effect("msr")


@insn(XL, "rfi", OPCD=19, XO=50, supervisor=True, width=32, features=EMBEDDED, name="rfi_405")
def rfi_405(s: Body, _: XL) -> None:
    set_msr(s, s.srr1)
    s.branch(s.srr0)


@insn(XL, "rfci", OPCD=19, XO=51, supervisor=True, width=32, features=EMBEDDED)
def rfci(s: Body, _: XL) -> None:
    set_msr(s, s.srr3)
    s.branch(s.srr2)


@insn(
    X, "mtmsr RS", OPCD=31, XO=146, supervisor=True, width=32, features=EMBEDDED, name="mtmsr_405"
)
def mtmsr_405(s: Body, i: X) -> None:
    set_msr(s, s.gpr[i.RS])


@insn(X, "wrtee RS", OPCD=31, XO=131, supervisor=True, width=32, features=EMBEDDED)
def wrtee(s: Body, i: X) -> None:
    set_msr(s, s.msr & ~MSR_EE | s.gpr[i.RS] & MSR_EE)


@insn(X, "wrteei E", OPCD=31, XO=163, supervisor=True, width=32, features=EMBEDDED)
def wrteei(s: Body, i: X) -> None:
    set_msr(s, s.msr & ~MSR_EE | s.word(i.E) << 15)


# --- device control registers ---------------------------------------------------------------------


def check_dcr(s: Body, i: XFX) -> Expr:
    """The number; a program interrupt where nothing answers to it."""
    n = number(i.SPRH) << 5 | number(i.SPRL)
    s.illegal(eq(s.dcr_there[n >> 5] >> (n & 31) & 1, 0))
    return n


@insn(XFX, "mfdcr RT,SPR", OPCD=31, XO=323, supervisor=True, width=32, features=EMBEDDED)
def mfdcr(s: Body, i: XFX) -> None:
    """RT is written by what the effect calls."""
    s.effect("dcr", check_dcr(s, i) | number(i.RT) << 10)


@insn(XFX, "mtdcr SPR,RS", OPCD=31, XO=451, supervisor=True, width=32, features=EMBEDDED)
def mtdcr(s: Body, i: XFX) -> None:
    s.effect("dcr", check_dcr(s, i) | number(i.RS) << 10 | DCR_WRITE)


# --- cache control --------------------------------------------------------------------------------


@insn(X, "icbt RA,RB", OPCD=31, XO=262, width=32, features=EMBEDDED)
def icbt(s: Body, i: X) -> None:
    """A hint; it never faults."""


@insn(X, "iccci RA,RB", OPCD=31, XO=966, supervisor=True, width=32, features=EMBEDDED)
def iccci(s: Body, i: X) -> None:
    """Fetch is always coherent here."""


@insn(X, "dccci RA,RB", OPCD=31, XO=454, supervisor=True, width=32, features=EMBEDDED)
def dccci(s: Body, i: X) -> None:
    """Nothing is in the data cache."""


@insn(X, "icread RA,RB", OPCD=31, XO=998, supervisor=True, width=32, features=EMBEDDED)
def icread(s: Body, i: X) -> None:
    """ICDBDR gets what the instruction cache holds: nothing is in it."""
    s.icdbdr = const(0, 32)


@insn(X, "dcread RT,RA,RB", OPCD=31, XO=486, supervisor=True, width=32, features=EMBEDDED)
def dcread(s: Body, i: X) -> None:
    """What the data cache holds: nothing is in it."""
    s.gpr[i.RT] = s.word(0)
