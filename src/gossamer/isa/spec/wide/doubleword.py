"""Fixed-point arithmetic, compare, trap and shifts of doublewords: 64-bit parts.

Source: Power ISA 2.03 Book I 3.3.8 to 3.3.12.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import (
    Expr,
    ashr,
    clz,
    const,
    eq,
    gtu,
    low,
    lts,
    ltu,
    ne,
    rotl,
    sdiv,
    select,
    sext,
    trunc,
    udiv,
    zext,
)
from gossamer.isa.insn import insn
from gossamer.isa.service import service
from gossamer.isa.spec.fixed_arith import lowest, trap
from gossamer.isa.spec.forms import MD, MDS, XO, XOOE, XS, D, X, XRc
from gossamer.isa.spec.logical import finish

# --- multiply and divide --------------------------------------------------------------------------


def signed_product(a: Expr, b: Expr) -> Expr:
    """All 128 bits of the product."""
    return sext(a, 128) * sext(b, 128)


@insn(XOOE, "mulld{OE}{Rc} RT,RA,RB", OPCD=31, XO=233, width=64)
def mulld(s: Body, i: XOOE) -> None:
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    s.gpr[i.RT] = result = a * b
    if i.OE.is_const and not i.OE.value:
        s.record(i.Rc, result)
        return
    lost = ne(signed_product(a, b), sext(result, 128))
    s.record(i.Rc, result, s.mark_overflow(i.OE, lost))


@insn(XO, "mulhd{Rc} RT,RA,RB", OPCD=31, XO=73, width=64)
def mulhd(s: Body, i: XO) -> None:
    product = signed_product(s.gpr[i.RA], s.gpr[i.RB])
    s.gpr[i.RT] = high = trunc(product >> 64, 64)
    s.record(i.Rc, high)


@insn(XO, "mulhdu{Rc} RT,RA,RB", OPCD=31, XO=9, width=64)
def mulhdu(s: Body, i: XO) -> None:
    product = zext(s.gpr[i.RA], 128) * zext(s.gpr[i.RB], 128)
    s.gpr[i.RT] = high = trunc(product >> 64, 64)
    s.record(i.Rc, high)


@insn(XOOE, "divd{OE}{Rc} RT,RA,RB", OPCD=31, XO=489, width=64)
def divd(s: Body, i: XOOE) -> None:
    """RT when there is no quotient is undefined: RA here, as QEMU has it."""
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    none = eq(b, 0) | eq(a, lowest(a)) & eq(b, -1)
    s.gpr[i.RT] = result = sdiv(a, select(none, 1, b))
    s.record(i.Rc, result, s.mark_overflow(i.OE, none))


@insn(XOOE, "divdu{OE}{Rc} RT,RA,RB", OPCD=31, XO=457, width=64)
def divdu(s: Body, i: XOOE) -> None:
    """RT when RB is zero is undefined: RA here, as QEMU has it."""
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    none = eq(b, 0)
    s.gpr[i.RT] = result = udiv(a, select(none, 1, b))
    s.record(i.Rc, result, s.mark_overflow(i.OE, none))


# --- extended division ----------------------------------------------------------------------------


@service(64, 64, result=64, wide=True)
def long_quotient(high: Expr, divisor: Expr) -> Expr:
    """High x 2**64 ÷ divisor, which is larger than `high`."""
    rest, quotient, by = zext(high, 128), const(0, 64), zext(divisor, 128)
    for _ in range(64):
        rest = rest << 1
        fits = ~ltu(rest, by)
        rest = select(fits, rest - by, rest)
        quotient = quotient << 1 | zext(fits, 64)
    return quotient


def extended(s: Body, i: XOOE, width: int, signed: bool) -> None:
    """RT when there is no quotient is undefined: zero here, as QEMU has it."""
    a, b = (trunc(s.gpr[n], width) for n in (i.RA, i.RB))
    minus_a, minus_b = (trunc(x >> width - 1, 1) & const(signed, 1) for x in (a, b))
    a = select(minus_a, const(0, width) - a, a)
    b = select(minus_b, const(0, width) - b, b)
    none = ~ltu(a, b)
    if width == 64:
        quotient = long_quotient(a, b)
    else:
        quotient = trunc(udiv(zext(a, 64) << 32, select(none, 1, zext(b, 64))), 32)
    negative = minus_a ^ minus_b
    if signed:
        limit = const(1 << width - 1, width)
        none = none | gtu(quotient, select(negative, limit, limit - 1))
    result = select(negative, const(0, width) - quotient, quotient)
    result = select(none, 0, result)
    s.gpr[i.RT] = result = s.signed(result) if signed else s.word(result)
    s.record(i.Rc, result, s.mark_overflow(i.OE, none))


@insn(XOOE, "divde{OE}{Rc} RT,RA,RB", OPCD=31, XO=425, features=("2.06",), width=64)
def divde(s: Body, i: XOOE) -> None:
    extended(s, i, 64, True)


@insn(XOOE, "divdeu{OE}{Rc} RT,RA,RB", OPCD=31, XO=393, features=("2.06",), width=64)
def divdeu(s: Body, i: XOOE) -> None:
    extended(s, i, 64, False)


@insn(XOOE, "divwe{OE}{Rc} RT,RA,RB", OPCD=31, XO=427, features=("2.06",), width=64)
def divwe(s: Body, i: XOOE) -> None:
    extended(s, i, 32, True)


@insn(XOOE, "divweu{OE}{Rc} RT,RA,RB", OPCD=31, XO=395, features=("2.06",), width=64)
def divweu(s: Body, i: XOOE) -> None:
    extended(s, i, 32, False)


@insn(X, "addg6s RT,RA,RB", OPCD=31, XO=74, features=("2.06",), width=64)
def addg6s(s: Body, i: X) -> None:
    """A six for each digit of a sum that carries nothing."""
    a, b = s.gpr[i.RA], s.gpr[i.RB]
    total = a + b
    carried = (a ^ b ^ total) >> 4 & 0x0111_1111_1111_1111 | zext(ltu(total, a), 64) << 60
    s.gpr[i.RT] = (carried ^ 0x1111_1111_1111_1111) * 6


# --- trap, extend, count --------------------------------------------------------------------------


@insn(D, "tdi TO,RA,SI", OPCD=2, width=64)
def tdi(s: Body, i: D) -> None:
    trap(s, i.TO, s.gpr[i.RA], i.SI)


@insn(X, "td TO,RA,RB", OPCD=31, XO=68, width=64)
def td(s: Body, i: X) -> None:
    trap(s, i.TO, s.gpr[i.RA], s.gpr[i.RB])


@insn(XRc, "extsw{Rc} RA,RS", OPCD=31, XO=986, width=64)
def extsw(s: Body, i: XRc) -> None:
    finish(s, i, s.signed(low(s.gpr[i.RS])))


@insn(XRc, "cntlzd{Rc} RA,RS", OPCD=31, XO=58, width=64)
def cntlzd(s: Body, i: XRc) -> None:
    finish(s, i, clz(s.gpr[i.RS]))


# --- rotate and mask ------------------------------------------------------------------------------


def mask64(mb: Expr, me: Expr) -> Expr:
    """MASK(mb, me) of 64 bits: ones from bit mb to bit me, wrapping."""
    head = const(-1, 64) >> zext(mb, 64)
    tail = const(-1, 64) << (const(63, 64) - zext(me, 64))
    return select(ltu(me, mb), head | tail, head & tail)


def from_left(s: Body, i: MD) -> Expr:
    """Ones from bit MB on."""
    return s.word(-1) >> s.word(i.MB)


def to_right(s: Body, i: MD) -> Expr:
    """Ones up to bit ME."""
    return s.word(-1) << (s.word(63) - s.word(i.ME))


@insn(MD, "rldicl{Rc} RA,RS,SH,MB", OPCD=30, XO=0, width=64)
def rldicl(s: Body, i: MD) -> None:
    finish(s, i, rotl(s.gpr[i.RS], i.SH) & from_left(s, i))


@insn(MD, "rldicr{Rc} RA,RS,SH,ME", OPCD=30, XO=1, width=64)
def rldicr(s: Body, i: MD) -> None:
    finish(s, i, rotl(s.gpr[i.RS], i.SH) & to_right(s, i))


@insn(MD, "rldic{Rc} RA,RS,SH,MB", OPCD=30, XO=2, width=64)
def rldic(s: Body, i: MD) -> None:
    finish(s, i, rotl(s.gpr[i.RS], i.SH) & mask64(i.MB, ~i.SH))


@insn(MD, "rldimi{Rc} RA,RS,SH,MB", OPCD=30, XO=3, width=64)
def rldimi(s: Body, i: MD) -> None:
    mask = mask64(i.MB, ~i.SH)
    finish(s, i, rotl(s.gpr[i.RS], i.SH) & mask | s.gpr[i.RA] & ~mask)


@insn(MDS, "rldcl{Rc} RA,RS,RB,MB", OPCD=30, XO=8, width=64)
def rldcl(s: Body, i: MDS) -> None:
    finish(s, i, rotl(s.gpr[i.RS], s.gpr[i.RB] & 63) & from_left(s, i))


@insn(MDS, "rldcr{Rc} RA,RS,RB,ME", OPCD=30, XO=9, width=64)
def rldcr(s: Body, i: MDS) -> None:
    finish(s, i, rotl(s.gpr[i.RS], s.gpr[i.RB] & 63) & to_right(s, i))


# --- shift ----------------------------------------------------------------------------------------


def far(count: Expr) -> Expr:
    """Whether a seven-bit count shifts everything out."""
    return ne(count & 64, 0)


@insn(XRc, "sld{Rc} RA,RS,RB", OPCD=31, XO=27, width=64)
def sld(s: Body, i: XRc) -> None:
    count = s.gpr[i.RB]
    finish(s, i, select(far(count), 0, s.gpr[i.RS] << (count & 63)))


@insn(XRc, "srd{Rc} RA,RS,RB", OPCD=31, XO=539, width=64)
def srd(s: Body, i: XRc) -> None:
    count = s.gpr[i.RB]
    finish(s, i, select(far(count), 0, s.gpr[i.RS] >> (count & 63)))


def shift_algebraic(s: Body, i: XRc | XS, count: Expr) -> None:
    """`count` is a word below 64; CA: negative and a one was shifted out."""
    value = s.gpr[i.RS]
    s.gpr[i.RA] = result = ashr(value, count)
    s.ca = zext(lts(value, 0) & ne(result << count, value), 8)
    s.record(i.Rc, result)


@insn(XRc, "srad{Rc} RA,RS,RB", OPCD=31, XO=794, width=64)
def srad(s: Body, i: XRc) -> None:
    """A count of 64 and above leaves 64 copies of the sign, and CA says whether it was set."""
    value, count = s.gpr[i.RS], s.gpr[i.RB]
    out = far(count)
    part = ashr(value, count & 63)
    s.gpr[i.RA] = result = select(out, ashr(value, 63), part)
    lost = select(out, const(1, 1), ne(part << (count & 63), value))
    s.ca = zext(lts(value, 0) & lost, 8)
    s.record(i.Rc, result)


@insn(XS, "sradi{Rc} RA,RS,SH", OPCD=31, XO=413, width=64)
def sradi(s: Body, i: XS) -> None:
    shift_algebraic(s, i, s.word(i.SH))
