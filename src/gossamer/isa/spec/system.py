"""System linkage, MSR, segment registers, translation and storage control.

Source: Book III; MPC750UM 2.3.6 and chapter 12.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, eq, trunc
from gossamer.isa.fpscr import FEX, has
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import SRR1_FP_ENABLED, SRR1_SUBSEQUENT, Interrupt
from gossamer.isa.spec.alignment import check_aligned
from gossamer.isa.spec.forms import SC, XL, X
from gossamer.isa.spec.load_store import ea_x
from gossamer.isa.spec.parts import EMBEDDED, G4

#: MSR bits that a 750 implements, except LE: little-endian mode is not supported and reads 0.
#: POW, ILE, EE, PR, FP, ME, FE0, SE, BE, FE1, IP, IR, DR, PM, RI.
MSR_750: Final = 0x0005_FF76
MSR_VEC: Final = bit(6)
MSR_7400: Final = MSR_750 | MSR_VEC
MSR_FE: Final = bit(20) | bit(23)  # FE0, FE1

#: MSR bits that rfi takes from SRR1: 0, 5..9, 16..31 (PM, bit 29, with them), never POW or ILE.
RFI_MASK: Final = 0x87C0_FFFF

DSISR_EAR: Final = bit(11)


@insn(SC, "sc", OPCD=17, ONE=1)
def sc(s: Body, _: SC) -> None:
    s.interrupt(Interrupt.SYSTEM_CALL, commit=True, after=True)


def set_msr(s: Body, value: Expr) -> None:
    """Write MSR; a floating-point enabled exception that waited for FE0 or FE1 is taken after it.

    SRR0 is where the program goes on, and SRR1 says that it is not the cause (PEM 6.4.7).
    """
    s.msr = value
    waited = has(s.fpscr, FEX) & eq(s.msr & MSR_FE, 0) & has(value, MSR_FE)
    bits = SRR1_FP_ENABLED | SRR1_SUBSEQUENT
    s.interrupt(Interrupt.PROGRAM, waited, bits, commit=True, after=True)
    s.effect("msr")


def return_from_interrupt(s: Body, implemented: int) -> None:
    taken = RFI_MASK & implemented
    kept = implemented & ~(taken | bit(13))
    set_msr(s, s.srr1 & taken | s.msr & kept)
    s.branch(s.srr0)


@insn(XL, "rfi", OPCD=19, XO=50, supervisor=True, width=32)
def rfi(s: Body, _: XL) -> None:
    return_from_interrupt(s, MSR_750)


@insn(XL, "rfi", OPCD=19, XO=50, supervisor=True, width=32, features=G4, name="rfi_7400")
def rfi_7400(s: Body, _: XL) -> None:
    return_from_interrupt(s, MSR_7400)


@insn(X, "mfmsr RT", OPCD=31, XO=83, supervisor=True)
def mfmsr(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.msr


@insn(X, "mtmsr RS", OPCD=31, XO=146, supervisor=True, width=32)
def mtmsr(s: Body, i: X) -> None:
    set_msr(s, s.gpr[i.RS] & MSR_750)


@insn(X, "mtmsr RS", OPCD=31, XO=146, supervisor=True, width=32, features=G4, name="mtmsr_7400")
def mtmsr_7400(s: Body, i: X) -> None:
    set_msr(s, s.gpr[i.RS] & MSR_7400)


# --- segment registers and translation ------------------------------------------------------------


@insn(X, "mtsr SR,RS", OPCD=31, XO=210, supervisor=True, width=32, absent=EMBEDDED)
def mtsr(s: Body, i: X) -> None:
    s.sr[i.SR] = s.gpr[i.RS]
    s.effect("segment", number(i.SR))


@insn(X, "mtsrin RS,RB", OPCD=31, XO=242, supervisor=True, width=32, absent=EMBEDDED)
def mtsrin(s: Body, i: X) -> None:
    n = s.gpr[i.RB] >> 28
    s.sr[n] = s.gpr[i.RS]
    s.effect("segment", n)


@insn(X, "mfsr RT,SR", OPCD=31, XO=595, supervisor=True, width=32, absent=EMBEDDED)
def mfsr(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.sr[i.SR]


@insn(X, "mfsrin RT,RB", OPCD=31, XO=659, supervisor=True, width=32, absent=EMBEDDED)
def mfsrin(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.sr[s.gpr[i.RB] >> 28]


@insn(X, "tlbie RB", OPCD=31, XO=306, supervisor=True, width=32, absent=EMBEDDED)
def tlbie(s: Body, i: X) -> None:
    s.effect("tlbie", s.gpr[i.RB])


@insn(X, "tlbsync", OPCD=31, XO=566, supervisor=True)
def tlbsync(s: Body, i: X) -> None:
    """One CPU: nothing to wait for."""


# --- ordering: accesses are in order already ------------------------------------------------------


@insn(X, "sync", OPCD=31, XO=598)
def sync(s: Body, i: X) -> None:
    pass


@insn(X, "eieio", OPCD=31, XO=854)
def eieio(s: Body, i: X) -> None:
    pass


@insn(XL, "isync", OPCD=19, XO=150)
def isync(s: Body, i: XL) -> None:
    pass


# --- external control -----------------------------------------------------------------------------


def check_external(s: Body, i: X) -> Expr:
    """The effective address; DSI when EAR[E] is off, alignment interrupt when not a word's."""
    ea = ea_x(s, i)
    off = ~bit_of(s.ear, 0)
    s.interrupt(Interrupt.DSI, off, dar=ea, dsisr=DSISR_EAR)
    check_aligned(s, i, ea)
    return ea


def bit_of(value: Expr, n: int) -> Expr:
    """Bit `n` of a value as the books count, as one bit."""
    return trunc(value >> (value.width - 1 - n), 1)


@insn(X, "eciwx RT,RA,RB", OPCD=31, XO=310, width=32, absent=EMBEDDED)
def eciwx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.word(s.load(check_external(s, i), 4))


@insn(X, "ecowx RS,RA,RB", OPCD=31, XO=438, width=32, absent=EMBEDDED)
def ecowx(s: Body, i: X) -> None:
    s.store(check_external(s, i), s.gpr[i.RS], 4)
