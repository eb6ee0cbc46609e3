"""Condition register instructions.  Source: Book I 2.4.3 and 3.3.13; MPC750UM chapter 12."""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XFX, XL, X


def read_cr(s: Body) -> Expr:
    """CR as the books show it, 32 bits."""
    value = const(0, 32)
    for n in range(8):
        value = value | zext(s.crf[n], 32) << (28 - 4 * n)
    return value


@insn(XL, "crand BT,BA,BB", OPCD=19, XO=257)
def crand(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, s.cr_bit(i.BA) & s.cr_bit(i.BB))


@insn(XL, "cror BT,BA,BB", OPCD=19, XO=449)
def cror(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, s.cr_bit(i.BA) | s.cr_bit(i.BB))


@insn(XL, "crxor BT,BA,BB", OPCD=19, XO=193, special=[{"BT": 6, "BA": 6, "BB": 6}])
def crxor(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, s.cr_bit(i.BA) ^ s.cr_bit(i.BB))


@insn(XL, "crnand BT,BA,BB", OPCD=19, XO=225)
def crnand(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, ~(s.cr_bit(i.BA) & s.cr_bit(i.BB)))


@insn(XL, "crnor BT,BA,BB", OPCD=19, XO=33)
def crnor(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, ~(s.cr_bit(i.BA) | s.cr_bit(i.BB)))


@insn(XL, "creqv BT,BA,BB", OPCD=19, XO=289)
def creqv(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, ~(s.cr_bit(i.BA) ^ s.cr_bit(i.BB)))


@insn(XL, "crandc BT,BA,BB", OPCD=19, XO=129)
def crandc(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, s.cr_bit(i.BA) & ~s.cr_bit(i.BB))


@insn(XL, "crorc BT,BA,BB", OPCD=19, XO=417)
def crorc(s: Body, i: XL) -> None:
    s.set_cr_bit(i.BT, s.cr_bit(i.BA) | ~s.cr_bit(i.BB))


@insn(XL, "mcrf BF,BFA", OPCD=19, XO=0)
def mcrf(s: Body, i: XL) -> None:
    s.crf[i.BF] = s.crf[i.BFA]


@insn(X, "mcrxr BF", OPCD=31, XO=512)
def mcrxr(s: Body, i: X) -> None:
    s.crf[i.BF] = s.so << 3 | s.ov << 2 | s.ca << 1
    s.so = s.ov = s.ca = const(0, 8)


@insn(XFX, "mfcr RT", OPCD=31, XO=19)
def mfcr(s: Body, i: XFX) -> None:
    s.gpr[i.RT] = s.word(read_cr(s))


@insn(XFX, "mtcrf FXM,RS", OPCD=31, XO=144, special=[{"FXM": 0xFF}])
def mtcrf(s: Body, i: XFX) -> None:
    source = s.gpr[i.RS]
    for n in range(8):
        value = trunc(source >> (28 - 4 * n), 8) & 15
        s.write("crf", n, value, trunc(i.FXM >> (7 - n), 1))
