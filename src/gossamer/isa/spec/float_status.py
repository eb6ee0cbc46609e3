"""FPSCR instructions.  Source: Book I 4.6.8; MPC750UM 2.1.1 and 2.3.4.2.5.

FEX and VX are never written: they follow from the rest.  FPSCR bit 20 is reserved and reads zero.
Only mtfsb1 sets FX by raising an exception bit; mtfsf and mtfsfi write FX as given.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, ne, select, trunc, zext
from gossamer.isa.fpscr import FEX, FX, INVALID, OX, UX, VX, XX, ZX, flag, has, summarize
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import SRR1_FP_ENABLED, Interrupt
from gossamer.isa.spec.forms import XFL, X, XRc

EXCEPTIONS: Final = OX | UX | ZX | XX | INVALID
IMPLEMENTED: Final = 0xFFFF_FFFF & ~bit(20)
MSR_FE: Final = bit(20) | bit(23)
#: Upper half of the FPR that mffs leaves: undefined by the book, this on 750-family parts.
MFFS_UPPER: Final = 0xFFF8_0000 << 32


def record(s: Body, rc: Expr, fpscr: Expr) -> None:
    """CR1 is FX, FEX, VX, OX when `rc` is one."""
    s.write("crf", 1, trunc(fpscr >> 28, 8), rc)


def set_fpscr(s: Body, value: Expr, rc: Expr) -> None:
    """Write FPSCR, made consistent; an exception enabled by it is taken with it committed."""
    s.fpscr = new = summarize(value & IMPLEMENTED)
    record(s, rc, new)
    take = has(new, FEX) & has(s.msr, MSR_FE)
    s.interrupt(Interrupt.PROGRAM, take, SRR1_FP_ENABLED, commit=True)


@insn(XRc, "mffs{Rc} FRT", OPCD=63, XO=583, needs="FP")
def mffs(s: Body, i: XRc) -> None:
    s.fpr[i.FRT] = zext(s.fpscr, 64) | MFFS_UPPER
    record(s, i.Rc, s.fpscr)


@insn(X, "mcrfs BF,BFA", OPCD=63, XO=64, needs="FP")
def mcrfs(s: Body, i: X) -> None:
    """Copy a field, then clear its exception bits."""
    shift = const(28, 32) - (zext(i.BFA, 32) << 2)
    s.crf[i.BF] = trunc(s.fpscr >> shift, 8) & 15
    cleared = const(15, 32) << shift & (EXCEPTIONS | FX)
    s.fpscr = summarize(s.fpscr & ~cleared)


def chosen(mask: Expr) -> Expr:
    """The FPSCR bits of the fields that an 8-bit mask names, its first bit for field 0."""
    total = const(0, 32)
    for n in range(8):
        total = total | flag(trunc(mask >> (7 - n), 1), 0xF << (28 - 4 * n))
    return total


@insn(XFL, "mtfsf{Rc} FLM,FRB", OPCD=63, XO=711, needs="FP")
def mtfsf(s: Body, i: XFL) -> None:
    fields = chosen(i.FLM)
    set_fpscr(s, s.fpscr & ~fields | trunc(s.fpr[i.FRB], 32) & fields, i.Rc)


@insn(XRc, "mtfsfi{Rc} BFF,U", OPCD=63, XO=134, needs="FP")
def mtfsfi(s: Body, i: XRc) -> None:
    shift = const(28, 32) - (zext(i.BFF, 32) << 2)
    field, value = const(15, 32) << shift, zext(i.U, 32) << shift
    set_fpscr(s, s.fpscr & ~field | value, i.Rc)


def one_bit(i: XRc) -> Expr:
    """The FPSCR bit that BT names; none for FEX and VX, which cannot be written."""
    return const(1, 32) << (const(31, 32) - zext(i.BT, 32)) & ~(FEX | VX)


@insn(XRc, "mtfsb0{Rc} BT", OPCD=63, XO=70, needs="FP")
def mtfsb0(s: Body, i: XRc) -> None:
    set_fpscr(s, s.fpscr & ~one_bit(i), i.Rc)


@insn(XRc, "mtfsb1{Rc} BT", OPCD=63, XO=38, needs="FP")
def mtfsb1(s: Body, i: XRc) -> None:
    target = one_bit(i)
    raised = target & ~s.fpscr & EXCEPTIONS
    set_fpscr(s, s.fpscr | target | select(ne(raised, 0), const(FX, 32), 0), i.Rc)
