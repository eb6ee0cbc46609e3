"""Fixed-point arithmetic, compare and trap.

Source: Book I 3.3.8 to 3.3.10; MPC750UM chapter 12.
"""

from __future__ import annotations

from collections.abc import Callable

from gossamer.isa.body import Body
from gossamer.isa.expr import (
    Expr,
    const,
    eq,
    gts,
    gtu,
    low,
    lts,
    ltu,
    ne,
    sdiv,
    select,
    sext,
    trunc,
    udiv,
    zext,
)
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import SRR1_TRAP, Interrupt
from gossamer.isa.spec.forms import XO, XOOE, D, X


def lowest(x: Expr) -> int:
    """The signed number of as many bits as `x` that has no positive counterpart."""
    return 1 << (x.width - 1)


def sign(x: Expr) -> Expr:
    """The most significant bit, as one bit."""
    return trunc(x >> (x.width - 1), 1)


def add_overflow(s: Body, x: Expr, y: Expr, total: Expr) -> Expr:
    """Signed overflow of total = x + y (+ carry), one bit."""
    return bit_at_sign(s, (x ^ total) & (y ^ total))


def set_carry(s: Body, carry: Expr) -> None:
    s.ca = zext(carry, 8)


def below(s: Body, x: Expr, y: Expr) -> Expr:
    """Unsigned x < y, of as many bits as the mode computes with."""
    return ltu(s.in_mode(x), s.in_mode(y))


def bit_at_sign(s: Body, x: Expr) -> Expr:
    """The bit where the sign of what the CPU computes with is, as one bit."""
    return sign(x) if s.sign.is_const and s.sign.value == lowest(x) else ne(x & s.sign, 0)


def add_with_carry(s: Body, i: XOOE, x: Expr, y: Expr) -> None:
    """RT = x + y + CA, setting CA; the extended family differs only in x and y."""
    if s.width == 32:
        wide = zext(x, 64) + zext(y, 64) + zext(s.ca, 64)
        s.gpr[i.RT] = total = trunc(wide, s.width)
        set_carry(s, trunc(wide >> s.width, 1))
    else:
        s.gpr[i.RT] = total = x + y + s.word(s.ca)
        set_carry(s, bit_at_sign(s, x & y | (x | y) & ~total))
    s.record(i.Rc, total, s.mark_overflow(i.OE, add_overflow(s, x, y, total)))


# --- immediate ------------------------------------------------------------------------------------


@insn(D, "addi RT,RA,SI", OPCD=14, special=[{"RA": 0}, {"RA": 1}])
def addi(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.ra0(i.RA) + i.SI


@insn(D, "addis RT,RA,SI", OPCD=15, special=[{"RA": 0}])
def addis(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.ra0(i.RA) + (i.SI << 16)


def add_immediate_carrying(s: Body, i: D) -> Expr:
    a = s.gpr[i.RA]
    s.gpr[i.RT] = total = a + i.SI
    set_carry(s, below(s, total, a))
    return total


@insn(D, "addic RT,RA,SI", OPCD=12)
def addic(s: Body, i: D) -> None:
    add_immediate_carrying(s, i)


@insn(D, "addic. RT,RA,SI", OPCD=13, name="addic.")
def addic_record(s: Body, i: D) -> None:
    s.record(eq(i.OPCD, 13), add_immediate_carrying(s, i))


@insn(D, "subfic RT,RA,SI", OPCD=8)
def subfic(s: Body, i: D) -> None:
    a = s.gpr[i.RA]
    s.gpr[i.RT] = i.SI - a
    set_carry(s, ~below(s, i.SI, a))


@insn(D, "mulli RT,RA,SI", OPCD=7)
def mulli(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.gpr[i.RA] * i.SI


# --- register -------------------------------------------------------------------------------------


@insn(XOOE, "add{OE}{Rc} RT,RA,RB", OPCD=31, XO=266)
def add(s: Body, i: XOOE) -> None:
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    s.gpr[i.RT] = total = a + b
    s.record(i.Rc, total, s.mark_overflow(i.OE, add_overflow(s, a, b, total)))


@insn(XOOE, "addc{OE}{Rc} RT,RA,RB", OPCD=31, XO=10)
def addc(s: Body, i: XOOE) -> None:
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    s.gpr[i.RT] = total = a + b
    set_carry(s, below(s, total, a))
    s.record(i.Rc, total, s.mark_overflow(i.OE, add_overflow(s, a, b, total)))


@insn(XOOE, "adde{OE}{Rc} RT,RA,RB", OPCD=31, XO=138)
def adde(s: Body, i: XOOE) -> None:
    add_with_carry(s, i, s.gpr[i.RA], s.gpr[i.RB])


@insn(XOOE, "addme{OE}{Rc} RT,RA", OPCD=31, XO=234)
def addme(s: Body, i: XOOE) -> None:
    add_with_carry(s, i, s.gpr[i.RA], s.word(-1))


@insn(XOOE, "addze{OE}{Rc} RT,RA", OPCD=31, XO=202)
def addze(s: Body, i: XOOE) -> None:
    add_with_carry(s, i, s.gpr[i.RA], s.word(0))


@insn(XOOE, "subf{OE}{Rc} RT,RA,RB", OPCD=31, XO=40)
def subf(s: Body, i: XOOE) -> None:
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    s.gpr[i.RT] = difference = b - a
    s.record(i.Rc, difference, s.mark_overflow(i.OE, add_overflow(s, ~a, b, difference)))


@insn(XOOE, "subfc{OE}{Rc} RT,RA,RB", OPCD=31, XO=8)
def subfc(s: Body, i: XOOE) -> None:
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    s.gpr[i.RT] = difference = b - a
    set_carry(s, ~below(s, b, a))
    s.record(i.Rc, difference, s.mark_overflow(i.OE, add_overflow(s, ~a, b, difference)))


@insn(XOOE, "subfe{OE}{Rc} RT,RA,RB", OPCD=31, XO=136)
def subfe(s: Body, i: XOOE) -> None:
    add_with_carry(s, i, ~s.gpr[i.RA], s.gpr[i.RB])


@insn(XOOE, "subfme{OE}{Rc} RT,RA", OPCD=31, XO=232)
def subfme(s: Body, i: XOOE) -> None:
    add_with_carry(s, i, ~s.gpr[i.RA], s.word(-1))


@insn(XOOE, "subfze{OE}{Rc} RT,RA", OPCD=31, XO=200)
def subfze(s: Body, i: XOOE) -> None:
    add_with_carry(s, i, ~s.gpr[i.RA], s.word(0))


@insn(XOOE, "neg{OE}{Rc} RT,RA", OPCD=31, XO=104)
def neg(s: Body, i: XOOE) -> None:
    a = s.gpr[i.RA]
    s.gpr[i.RT] = result = s.word(0) - a
    s.record(i.Rc, result, s.mark_overflow(i.OE, eq(s.in_mode(a), s.sign)))


@insn(XOOE, "mullw{OE}{Rc} RT,RA,RB", OPCD=31, XO=235)
def mullw(s: Body, i: XOOE) -> None:
    """RT takes as much of the product of two words of 32 bits as it holds."""
    product = sext(low(s.gpr[i.RA]), 64) * sext(low(s.gpr[i.RB]), 64)
    part = low(product)
    s.gpr[i.RT] = result = part if s.width == part.width else product
    s.record(i.Rc, result, s.mark_overflow(i.OE, ne(product, sext(part, 64))))


@insn(XO, "mulhw{Rc} RT,RA,RB", OPCD=31, XO=75)
def mulhw(s: Body, i: XO) -> None:
    product = sext(low(s.gpr[i.RA]), 64) * sext(low(s.gpr[i.RB]), 64)
    s.gpr[i.RT] = high = s.word(low(product >> 32))
    s.record(i.Rc, high)


@insn(XO, "mulhwu{Rc} RT,RA,RB", OPCD=31, XO=11)
def mulhwu(s: Body, i: XO) -> None:
    product = zext(low(s.gpr[i.RA]), 64) * zext(low(s.gpr[i.RB]), 64)
    s.gpr[i.RT] = high = s.word(low(product >> 32))
    s.record(i.Rc, high)


@insn(XOOE, "divw{OE}{Rc} RT,RA,RB", OPCD=31, XO=491)
def divw(s: Body, i: XOOE) -> None:
    """RT when there is no quotient is undefined; 750-family parts give 0, or -1 if RA < 0.

    On 64-bit parts RA, as QEMU has it.
    """
    a, b = low(s.gpr[i.RA]), low(s.gpr[i.RB])
    none = eq(b, 0) | eq(a, lowest(a)) & eq(b, -1)
    quotient = sdiv(a, select(none, 1, b))
    otherwise = sext(sign(a), a.width) if s.width == 32 else a
    s.gpr[i.RT] = result = s.word(select(none, otherwise, quotient))
    s.record(i.Rc, result, s.mark_overflow(i.OE, none))


@insn(XOOE, "divwu{OE}{Rc} RT,RA,RB", OPCD=31, XO=459)
def divwu(s: Body, i: XOOE) -> None:
    """RT when RB is zero is undefined; 750-family parts give 0.  On 64-bit parts RA, as QEMU."""
    a, b = low(s.gpr[i.RA]), low(s.gpr[i.RB])
    none = eq(b, 0)
    quotient = udiv(a, select(none, 1, b))
    s.gpr[i.RT] = result = s.word(select(none, 0, quotient) if s.width == 32 else quotient)
    s.record(i.Rc, result, s.mark_overflow(i.OE, none))


# --- compare --------------------------------------------------------------------------------------

# L = 1 (64-bit operands) is an invalid form on a 32-bit part, which compares words all the same.


def compared(s: Body, i: D | X, x: Expr, extend: Callable[[Expr], Expr]) -> Expr:
    """What a compare instruction takes of `x`: where words have 64 bits, L says how many."""
    if s.width == 32:
        return x
    return select(i.L, x, extend(low(x)))


@insn(D, "cmpi BF,L,RA,SI", OPCD=11, special=[{"BF": 0}])
def cmpi(s: Body, i: D) -> None:
    a = compared(s, i, s.gpr[i.RA], s.signed)
    s.crf[i.BF] = s.compare_code(lts(a, i.SI), eq(a, i.SI))


@insn(D, "cmpli BF,L,RA,UI", OPCD=10, special=[{"BF": 0}])
def cmpli(s: Body, i: D) -> None:
    a, b = compared(s, i, s.gpr[i.RA], s.word), s.word(i.UI)
    s.crf[i.BF] = s.compare_code(ltu(a, b), eq(a, b))


@insn(X, "cmp BF,L,RA,RB", OPCD=31, XO=0, special=[{"BF": 0}])
def cmp(s: Body, i: X) -> None:
    a, b = (compared(s, i, s.gpr[n], s.signed) for n in (i.RA, i.RB))
    s.crf[i.BF] = s.compare_code(lts(a, b), eq(a, b))


@insn(X, "cmpl BF,L,RA,RB", OPCD=31, XO=32, special=[{"BF": 0}])
def cmpl(s: Body, i: X) -> None:
    a, b = (compared(s, i, s.gpr[n], s.word) for n in (i.RA, i.RB))
    s.crf[i.BF] = s.compare_code(ltu(a, b), eq(a, b))


# --- trap -----------------------------------------------------------------------------------------


def trap(s: Body, to: Expr, a: Expr, b: Expr) -> None:
    """TO bits: less, greater, equal, less unsigned, greater unsigned."""
    tests = (lts(a, b), gts(a, b), eq(a, b), ltu(a, b), gtu(a, b))
    hit = const(0, 1)
    for n, test in enumerate(tests):
        hit = hit | trunc(to >> (4 - n), 1) & test
    s.interrupt(Interrupt.PROGRAM, hit, SRR1_TRAP)


@insn(D, "twi TO,RA,SI", OPCD=3)
def twi(s: Body, i: D) -> None:
    trap(s, i.TO, low(s.gpr[i.RA]), low(i.SI))


@insn(X, "tw TO,RA,RB", OPCD=31, XO=4)
def tw(s: Body, i: X) -> None:
    trap(s, i.TO, low(s.gpr[i.RA]), low(s.gpr[i.RB]))
