"""AltiVec floating point: arithmetic, comparisons, rounding, conversions, estimates.

Source: AltiVec PEM chapters 4 and 6; see `isa.vector.single`.  The MPC7400 may hand denormals in
Java mode to software (AltiVec assist interrupt, 0x1600); here they are computed at once, as later
parts do, so that interrupt never comes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, select, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.parts import ALTIVEC
from gossamer.isa.spec.vector_forms import VA, VC, VX
from gossamer.isa.spec.vector_integer import compared, saturate
from gossamer.isa.vector.lanewise import both, each, either, invert, lanes, no_bit, splat
from gossamer.isa.vector.single import (
    SIGN,
    add,
    flush,
    integral,
    larger,
    logarithm,
    multiply_add,
    negate,
    non_java,
    power,
    reciprocal,
    reciprocal_root,
    single,
    smaller,
)


def define_two(name: str, xo: int, function: Callable[[Expr, Expr, Expr], Expr]) -> None:
    """VRT = function(VRA, VRB, VSCR)."""

    @insn(VX, f"{name} VRT,VRA,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VX) -> None:
        s.vr[i.VRT] = function(s.vr[i.VRA], s.vr[i.VRB], s.vscr)


def define_one(name: str, xo: int, function: Callable[[Expr, Expr], Expr]) -> None:
    """VRT = function(VRB, VSCR)."""

    @insn(VX, f"{name} VRT,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VX) -> None:
        s.vr[i.VRT] = function(s.vr[i.VRB], s.vscr)


define_two("vaddfp", 10, add)
define_two("vsubfp", 74, partial(add, op="vfsub"))
define_two("vmaxfp", 1034, larger)
define_two("vminfp", 1098, smaller)
define_one("vrefp", 266, reciprocal)
define_one("vrsqrtefp", 330, reciprocal_root)
define_one("vexptefp", 394, power)
define_one("vlogefp", 458, logarithm)
define_one("vrfin", 522, partial(integral, "vround"))
define_one("vrfiz", 586, partial(integral, "vtrunc"))
define_one("vrfip", 650, partial(integral, "vceil"))
define_one("vrfim", 714, partial(integral, "vfloor"))


@insn(VA, "vmaddfp VRT,VRA,VRC,VRB", OPCD=4, XO=46, needs="VEC", features=ALTIVEC)
def vmaddfp(s: Body, i: VA) -> None:
    s.vr[i.VRT] = multiply_add(s.vr[i.VRA], s.vr[i.VRC], s.vr[i.VRB], s.vscr, negated=False)


@insn(VA, "vnmsubfp VRT,VRA,VRC,VRB", OPCD=4, XO=47, needs="VEC", features=ALTIVEC)
def vnmsubfp(s: Body, i: VA) -> None:
    s.vr[i.VRT] = multiply_add(s.vr[i.VRA], s.vr[i.VRC], s.vr[i.VRB], s.vscr, negated=True)


# --- comparisons: a NaN is neither equal, greater nor within bounds -------------------------------


def define_comparison(name: str, xo: int, op: str) -> None:
    @insn(VC, f"{name}{{Rc}} VRT,VRA,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VC) -> None:
        nj = non_java(s.vscr)
        compared(s, i, lanes(op, flush(s.vr[i.VRA], nj), flush(s.vr[i.VRB], nj)))


define_comparison("vcmpeqfp", 198, "vfeq")
define_comparison("vcmpgefp", 454, "vfge")
define_comparison("vcmpgtfp", 710, "vfgt")


@insn(VC, "vcmpbfp{Rc} VRT,VRA,VRB", OPCD=4, XO=966, needs="VEC", features=ALTIVEC)
def vcmpbfp(s: Body, i: VC) -> None:
    """Bit 0 of a word: not at most vB; bit 1: not at least -vB.  CR6[2]: all are in bounds."""
    nj = non_java(s.vscr)
    a, b = flush(s.vr[i.VRA], nj), flush(s.vr[i.VRB], nj)
    above = both(invert(lanes("vfge", b, a)), each(SIGN, 32))
    below = both(invert(lanes("vfge", a, negate(b))), each(SIGN >> 1, 32))
    out = either(above, below)
    s.vr[i.VRT] = out
    s.write("crf", const(6, 32), select(no_bit(out), const(2, 8), const(0, 8)), i.Rc)


# --- conversions: UIM is a power of two -----------------------------------------------------------


def _scale(i: VX, sign: int) -> Expr:
    """2**UIM or (`sign` -1) 2**-UIM in every lane."""
    exponent = const(127, 32) + zext(i.UIM, 32) if sign > 0 else const(127, 32) - zext(i.UIM, 32)
    return splat(exponent << 23)


@insn(VX, "vcfux VRT,VRB,UIM", OPCD=4, XO=778, needs="VEC", features=ALTIVEC)
def vcfux(s: Body, i: VX) -> None:
    s.vr[i.VRT] = lanes("vfmul", lanes("vfromu", s.vr[i.VRB]), _scale(i, -1))


@insn(VX, "vcfsx VRT,VRB,UIM", OPCD=4, XO=842, needs="VEC", features=ALTIVEC)
def vcfsx(s: Body, i: VX) -> None:
    s.vr[i.VRT] = lanes("vfmul", lanes("vfroms", s.vr[i.VRB]), _scale(i, -1))


@insn(VX, "vctuxs VRT,VRB,UIM", OPCD=4, XO=906, needs="VEC", features=ALTIVEC)
def vctuxs(s: Body, i: VX) -> None:
    """What truncates to zero is not saturated; a NaN gives zero without saturating."""
    value = lanes("vfmul", s.vr[i.VRB], _scale(i, 1))
    high = lanes("vfge", value, single(2.0**32))
    low = lanes("vfge", single(-1.0), value)
    saturate(s, i, (lanes("vtou", value), either(high, low)))


@insn(VX, "vctsxs VRT,VRB,UIM", OPCD=4, XO=970, needs="VEC", features=ALTIVEC)
def vctsxs(s: Body, i: VX) -> None:
    value = lanes("vfmul", s.vr[i.VRB], _scale(i, 1))
    high = lanes("vfge", value, single(2.0**31))
    low = lanes("vfgt", single(-(2.0**31)), value)
    saturate(s, i, (lanes("vtos", value), either(high, low)))
