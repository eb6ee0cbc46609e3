"""AltiVec multiplication, multiply-add, multiply-sum and sums across.

Source: AltiVec PEM chapters 4 and 6.  Even elements are the upper halves of lanes of twice the
width, odd elements the lower halves.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, gts, lts, select, sext, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.parts import ALTIVEC
from gossamer.isa.spec.vector_forms import VA, VX
from gossamer.isa.spec.vector_integer import LETTERS, Saturated, Two, define, saturate
from gossamer.isa.vector.lanes import WIDTH
from gossamer.isa.vector.lanewise import both, differ, each, either, lanes, lower, shift, upper


def even_products(a: Expr, b: Expr, width: int, *, signed: bool) -> Expr:
    """Products, `width` bits each, of the even elements of half that width."""
    return lanes(f"vmul{width}", upper(a, width, signed=signed), upper(b, width, signed=signed))


def odd_products(a: Expr, b: Expr, width: int, *, signed: bool) -> Expr:
    return lanes(f"vmul{width}", lower(a, width, signed=signed), lower(b, width, signed=signed))


def even_of(width: int, *, signed: bool) -> Two:
    return lambda a, b: even_products(a, b, width, signed=signed)


def odd_of(width: int, *, signed: bool) -> Two:
    return lambda a, b: odd_products(a, b, width, signed=signed)


for _n, _width in enumerate((8, 16)):
    _letter = LETTERS[_width]
    for _sign, _xo in (("u", 0), ("s", 256)):
        _at, _signed = _xo + 64 * _n, _sign == "s"
        define(f"vmulo{_sign}{_letter}", 8 + _at, odd_of(2 * _width, signed=_signed))
        define(f"vmule{_sign}{_letter}", 520 + _at, even_of(2 * _width, signed=_signed))


# --- multiply and add halfwords -------------------------------------------------------------------


@insn(VA, "vmladduhm VRT,VRA,VRB,VRC", OPCD=4, XO=34, needs="VEC", features=ALTIVEC)
def vmladduhm(s: Body, i: VA) -> None:
    s.vr[i.VRT] = lanes("vadd16", lanes("vmul16", s.vr[i.VRA], s.vr[i.VRB]), s.vr[i.VRC])


def _high_sum(product: Expr, addend: Expr, rounding: int) -> Expr:
    """Product × 2**-15 + addend in words, not saturated yet."""
    if rounding:
        product = lanes("vadd32", product, each(rounding, 32))
    return lanes("vadd32", shift("vashr", product, 15, 32), addend)


def clamp_words(a: Expr, low: int, high: int) -> Expr:
    """Signed words between two bounds."""
    return lanes("vmaxs32", lanes("vmins32", a, each(high, 32)), each(low, 32))


def _multiply_high(s: Body, i: VA, rounding: int) -> None:
    a, b, c = s.vr[i.VRA], s.vr[i.VRB], s.vr[i.VRC]
    even = _high_sum(even_products(a, b, 32, signed=True), upper(c, 32, signed=True), rounding)
    odd = _high_sum(odd_products(a, b, 32, signed=True), lower(c, 32, signed=True), rounding)
    kept_even, kept_odd = (clamp_words(x, -0x8000, 0x7FFF) for x in (even, odd))
    value = either(shift("vshl", kept_even, 16, 32), both(kept_odd, each(0xFFFF, 32)))
    saturate(s, i, (value, either(differ(even, kept_even), differ(odd, kept_odd))))


@insn(VA, "vmhaddshs VRT,VRA,VRB,VRC", OPCD=4, XO=32, needs="VEC", features=ALTIVEC)
def vmhaddshs(s: Body, i: VA) -> None:
    _multiply_high(s, i, 0)


@insn(VA, "vmhraddshs VRT,VRA,VRB,VRC", OPCD=4, XO=33, needs="VEC", features=ALTIVEC)
def vmhraddshs(s: Body, i: VA) -> None:
    _multiply_high(s, i, 0x4000)


# --- multiply and sum into words ------------------------------------------------------------------


def pair_sum(a: Expr, width: int, *, signed: bool) -> Expr:
    """In each lane of `width` bits the sum of its halves."""
    return lanes(f"vadd{width}", upper(a, width, signed=signed), lower(a, width, signed=signed))


@insn(VA, "vmsumubm VRT,VRA,VRB,VRC", OPCD=4, XO=36, needs="VEC", features=ALTIVEC)
def vmsumubm(s: Body, i: VA) -> None:
    a, b = s.vr[i.VRA], s.vr[i.VRB]
    even, odd = (f(a, b, 16, signed=False) for f in (even_products, odd_products))
    total = lanes("vadd32", pair_sum(even, 32, signed=False), pair_sum(odd, 32, signed=False))
    s.vr[i.VRT] = lanes("vadd32", total, s.vr[i.VRC])


@insn(VA, "vmsummbm VRT,VRA,VRB,VRC", OPCD=4, XO=37, needs="VEC", features=ALTIVEC)
def vmsummbm(s: Body, i: VA) -> None:
    """Signed bytes of VRA by unsigned bytes of VRB."""
    a, b = s.vr[i.VRA], s.vr[i.VRB]
    even = lanes("vmul16", upper(a, 16, signed=True), upper(b, 16, signed=False))
    odd = lanes("vmul16", lower(a, 16, signed=True), lower(b, 16, signed=False))
    total = lanes("vadd32", pair_sum(even, 32, signed=True), pair_sum(odd, 32, signed=True))
    s.vr[i.VRT] = lanes("vadd32", total, s.vr[i.VRC])


def _halfword_products(s: Body, i: VA, *, signed: bool) -> tuple[Expr, Expr]:
    a, b = s.vr[i.VRA], s.vr[i.VRB]
    return even_products(a, b, 32, signed=signed), odd_products(a, b, 32, signed=signed)


def _modulo_sum(s: Body, i: VA, *, signed: bool) -> None:
    even, odd = _halfword_products(s, i, signed=signed)
    s.vr[i.VRT] = lanes("vadd32", lanes("vadd32", even, odd), s.vr[i.VRC])


@insn(VA, "vmsumuhm VRT,VRA,VRB,VRC", OPCD=4, XO=38, needs="VEC", features=ALTIVEC)
def vmsumuhm(s: Body, i: VA) -> None:
    _modulo_sum(s, i, signed=False)


@insn(VA, "vmsumshm VRT,VRA,VRB,VRC", OPCD=4, XO=40, needs="VEC", features=ALTIVEC)
def vmsumshm(s: Body, i: VA) -> None:
    _modulo_sum(s, i, signed=True)


@insn(VA, "vmsumuhs VRT,VRA,VRB,VRC", OPCD=4, XO=39, needs="VEC", features=ALTIVEC)
def vmsumuhs(s: Body, i: VA) -> None:
    """Nothing is negative, so saturating step by step is saturating the whole."""
    even, odd = _halfword_products(s, i, signed=False)
    c = s.vr[i.VRC]
    first = lanes("vaddu32", even, odd)
    value = lanes("vaddu32", first, c)
    exact_first, exact = lanes("vadd32", even, odd), lanes("vadd32", first, c)
    saturate(s, i, (value, either(differ(first, exact_first), differ(value, exact))))


def three_words(a: Expr, b: Expr, c: Expr) -> Saturated:
    """The sum of three signed words, saturated once."""
    value = lanes("vadd3s32", a, b, c)
    return value, differ(value, lanes("vadd32", lanes("vadd32", a, b), c))


@insn(VA, "vmsumshs VRT,VRA,VRB,VRC", OPCD=4, XO=41, needs="VEC", features=ALTIVEC)
def vmsumshs(s: Body, i: VA) -> None:
    saturate(s, i, three_words(*_halfword_products(s, i, signed=True), s.vr[i.VRC]))


# --- sums across ----------------------------------------------------------------------------------


def _add_words(a: Expr, b: Expr, op: str) -> Saturated:
    value = lanes(op, a, b)
    return value, differ(value, lanes("vadd32", a, b))


def _byte_sums(a: Expr, *, signed: bool) -> Expr:
    """In each word the sum of its four bytes."""
    return pair_sum(pair_sum(a, 16, signed=signed), 32, signed=signed)


@insn(VX, "vsum4ubs VRT,VRA,VRB", OPCD=4, XO=1544, needs="VEC", features=ALTIVEC)
def vsum4ubs(s: Body, i: VX) -> None:
    total = _byte_sums(s.vr[i.VRA], signed=False)
    saturate(s, i, _add_words(total, s.vr[i.VRB], "vaddu32"))


@insn(VX, "vsum4sbs VRT,VRA,VRB", OPCD=4, XO=1800, needs="VEC", features=ALTIVEC)
def vsum4sbs(s: Body, i: VX) -> None:
    total = _byte_sums(s.vr[i.VRA], signed=True)
    saturate(s, i, _add_words(total, s.vr[i.VRB], "vadds32"))


@insn(VX, "vsum4shs VRT,VRA,VRB", OPCD=4, XO=1608, needs="VEC", features=ALTIVEC)
def vsum4shs(s: Body, i: VX) -> None:
    total = pair_sum(s.vr[i.VRA], 32, signed=True)
    saturate(s, i, _add_words(total, s.vr[i.VRB], "vadds32"))


@insn(VX, "vsum2sws VRT,VRA,VRB", OPCD=4, XO=1672, needs="VEC", features=ALTIVEC)
def vsum2sws(s: Body, i: VX) -> None:
    """Words 0 and 1 with word 1 of VRB, words 2 and 3 with word 3; words 0 and 2 become zero."""
    a = s.vr[i.VRA]
    value, lost = three_words(shift("vlshr", a, 32, 64), a, s.vr[i.VRB])
    odd = each(0xFFFF_FFFF, 64)
    saturate(s, i, (both(value, odd), both(lost, odd)))


@insn(VX, "vsumsws VRT,VRA,VRB", OPCD=4, XO=1928, needs="VEC", features=ALTIVEC)
def vsumsws(s: Body, i: VX) -> None:
    """All words of VRA with word 3 of VRB, into word 3; the others become zero."""
    a, b = s.vr[i.VRA], s.vr[i.VRB]
    total = sext(trunc(b, 32), 64)
    for n in range(4):
        total = total + sext(trunc(a >> 32 * n, 32), 64)
    high, low = (1 << 31) - 1, -(1 << 31)
    value = select(gts(total, high), const(high, 64), total)
    value = select(lts(total, low), const(low, 64), value)
    s.vr[i.VRT] = zext(trunc(value, 32), WIDTH)
    s.vscr = s.vscr | zext(~eq(value, total), 32)
