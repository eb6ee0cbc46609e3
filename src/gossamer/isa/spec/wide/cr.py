"""Moves of one CR field: 64-bit parts.  Source: Power ISA 2.03 Book I 3.3.13.

Where FXM is not one bit the result is undefined: nothing changes here, as in QEMU.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, ne, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XFXONE


def one_bit(i: XFXONE) -> Expr:
    """Whether FXM names one field."""
    return ne(i.FXM, 0) & eq(i.FXM & (i.FXM - 1), 0)


@insn(XFXONE, "mfocrf RT,FXM", OPCD=31, XO=19, ONE=1, width=64)
def mfocrf(s: Body, i: XFXONE) -> None:
    """The other fields of RT are undefined: zero, as QEMU has it."""
    value = const(0, 32)
    for n in range(8):
        field = zext(s.crf[n], 32) << (28 - 4 * n)
        value = value | select(trunc(i.FXM >> (7 - n), 1), field, const(0, 32))
    s.write("gpr", i.RT, s.word(value), one_bit(i))


@insn(XFXONE, "mtocrf FXM,RS", OPCD=31, XO=144, ONE=1, width=64)
def mtocrf(s: Body, i: XFXONE) -> None:
    source, one = s.gpr[i.RS], one_bit(i)
    for n in range(8):
        value = trunc(source >> (28 - 4 * n), 8) & 15
        s.write("crf", n, value, one & trunc(i.FXM >> (7 - n), 1))
