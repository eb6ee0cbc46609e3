"""The 405's multiply-accumulate instructions, and dlmzb.

Source: PPC405 core user's manual chapter 9.  The names say which halfwords are multiplied: `chw` of
RA the low one by RB's high one, `hhw` both high, `lhw` both low; `u`: without sign; `s`: the sum
saturates.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, lts, ltu, ne, select, sext, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XOOE, XRc
from gossamer.isa.spec.parts import EMBEDDED

Extend = Callable[[Expr, int], Expr]
#: By the two letters of the halfwords: whether RA's and RB's are the high ones.
HALVES: Final = {"ch": (False, True), "hh": (True, True), "lh": (False, False)}
#: Extended opcodes of the signed multiplications; unsigned ones lie 32 below, sums 4 above.
_MULTIPLY: Final = {"ch": 168, "hh": 40, "lh": 424}


def halfword(s: Body, register: Expr, high: bool, extend: Extend) -> Expr:
    return extend(trunc(s.gpr[register] >> 16 if high else s.gpr[register], 16), 34)


def multiplied(s: Body, i: XRc | XOOE, which: str, extend: Extend) -> Expr:
    """The product, 34 bits."""
    first, second = HALVES[which]
    return halfword(s, i.RA, first, extend) * halfword(s, i.RB, second, extend)


def define_multiply(which: str, extend: Extend, name: str, opcode: int) -> None:
    @insn(XRc, name + "{Rc} RT,RA,RB", name=name, OPCD=4, XO=opcode, width=32, features=EMBEDDED)
    def multiply(s: Body, i: XRc) -> None:
        s.gpr[i.RT] = value = trunc(multiplied(s, i, which, extend), 32)
        s.record(i.Rc, value)


def define_sum(
    which: str, unsigned: bool, negative: bool, saturating: bool, name: str, opcode: int
) -> None:
    extend: Extend = zext if unsigned else sext

    @insn(
        XOOE, name + "{OE}{Rc} RT,RA,RB", name=name, OPCD=4, XO=opcode, width=32, features=EMBEDDED
    )
    def accumulate(s: Body, i: XOOE) -> None:
        product_, old = multiplied(s, i, which, extend), extend(s.gpr[i.RT], 34)
        total = old - product_ if negative else old + product_
        value = trunc(total, 32)
        overflow = ne(extend(value, 34), total)
        if saturating:
            most = const(-1, 32) if unsigned else _limit(total)
            value = select(overflow, most, value)
        s.gpr[i.RT] = value
        s.record(i.Rc, value, s.mark_overflow(i.OE, overflow))


def _limit(total: Expr) -> Expr:
    """The signed word nearest to a sum that does not fit."""
    return select(lts(total, 0), const(1 << 31, 32), const((1 << 31) - 1, 32))


for _which, _opcode in _MULTIPLY.items():
    _stem = f"mul{_which}w"
    define_multiply(_which, sext, _stem, _opcode)
    define_multiply(_which, zext, _stem + "u", _opcode - 32)
    for _unsigned, _saturating in product((False, True), repeat=2):
        _name = "mac" + _which + "w" + ("s" if _saturating else "")
        _name += "u" if _unsigned else ""
        _at = _opcode + 4 + 64 * _saturating - 32 * _unsigned
        define_sum(_which, _unsigned, False, _saturating, _name, _at)
    for _saturating in (False, True):
        _name = "nmac" + _which + "w" + ("s" if _saturating else "")
        define_sum(_which, False, True, _saturating, _name, _opcode + 6 + 64 * _saturating)


@insn(XRc, "dlmzb{Rc} RA,RS,RB", OPCD=31, XO=78, width=32, features=EMBEDDED)
def dlmzb(s: Body, i: XRc) -> None:
    """How many bytes of RS || RB there are up to the first that is zero, it among them; else 8."""
    both = zext(s.gpr[i.RS], 64) << 32 | zext(s.gpr[i.RB], 64)
    count, there = const(8, 32), const(0, 1)
    for n in reversed(range(8)):
        zero = eq(trunc(both >> 8 * (7 - n), 8), 0)
        count, there = select(zero, const(n + 1, 32), count), there | zero
    s.gpr[i.RA] = count
    s.xer = s.xer & ~0x7F | count
    where = select(ltu(count, 5), const(4, 8), const(8, 8))
    s.write("crf", 0, select(there, where, const(2, 8)) | s.so, i.Rc)
