"""AltiVec permute, merge, splat, pack, unpack and shifts of whole registers.

Source: AltiVec PEM chapters 4 (permutation and formatting) and 6.
"""

from __future__ import annotations

from functools import partial

from gossamer.base.bits import ones
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, low, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.parts import ALTIVEC
from gossamer.isa.spec.vector_forms import VA, VX
from gossamer.isa.spec.vector_integer import (
    LETTERS,
    Saturated,
    by_lanes,
    define,
    define_saturating,
)
from gossamer.isa.spec.vector_memory import COUNTING
from gossamer.isa.vector.lanes import WIDTH
from gossamer.isa.vector.lanewise import ZEROS, both, differ, each, either, lanes, shift, splat


@insn(VA, "vperm VRT,VRA,VRB,VRC", OPCD=4, XO=43, needs="VEC", features=ALTIVEC)
def vperm(s: Body, i: VA) -> None:
    s.vr[i.VRT] = lanes("vperm", s.vr[i.VRA], s.vr[i.VRB], s.vr[i.VRC])


@insn(VA, "vsldoi VRT,VRA,VRB,SHB", OPCD=4, XO=44, needs="VEC", features=ALTIVEC)
def vsldoi(s: Body, i: VA) -> None:
    control = lanes("vadd8", splat(zext(i.SHB, 8)), COUNTING)
    s.vr[i.VRT] = lanes("vperm", s.vr[i.VRA], s.vr[i.VRB], control)


# --- merge and splat ------------------------------------------------------------------------------

for _n, (_width, _letter) in enumerate(LETTERS.items()):
    define(f"vmrgh{_letter}", 12 + 64 * _n, by_lanes(f"vmrgh{_width}"))
    define(f"vmrgl{_letter}", 268 + 64 * _n, by_lanes(f"vmrgl{_width}"))


def splat_element(s: Body, i: VX, element: Expr, size: int) -> None:
    """Element `element` of `size` bytes of VRB everywhere."""
    first = zext(element, 8) * size
    within = const(int.from_bytes(bytes(range(size)) * (16 // size), "big"), WIDTH)
    control = either(splat(first), within)
    b = s.vr[i.VRB]
    s.vr[i.VRT] = lanes("vperm", b, b, control)


@insn(VX, "vspltb VRT,VRB,UIM4", OPCD=4, XO=524, needs="VEC", features=ALTIVEC)
def vspltb(s: Body, i: VX) -> None:
    splat_element(s, i, i.UIM4, 1)


@insn(VX, "vsplth VRT,VRB,UIM3", OPCD=4, XO=588, needs="VEC", features=ALTIVEC)
def vsplth(s: Body, i: VX) -> None:
    splat_element(s, i, i.UIM3, 2)


@insn(VX, "vspltw VRT,VRB,UIM2", OPCD=4, XO=652, needs="VEC", features=ALTIVEC)
def vspltw(s: Body, i: VX) -> None:
    splat_element(s, i, i.UIM2, 4)


@insn(VX, "vspltisb VRT,SIM", OPCD=4, XO=780, needs="VEC", features=ALTIVEC)
def vspltisb(s: Body, i: VX) -> None:
    s.vr[i.VRT] = splat(trunc(i.SIM, 8))


@insn(VX, "vspltish VRT,SIM", OPCD=4, XO=844, needs="VEC", features=ALTIVEC)
def vspltish(s: Body, i: VX) -> None:
    s.vr[i.VRT] = splat(trunc(i.SIM, 16))


@insn(VX, "vspltisw VRT,SIM", OPCD=4, XO=908, needs="VEC", features=ALTIVEC)
def vspltisw(s: Body, i: VX) -> None:
    s.vr[i.VRT] = splat(low(i.SIM))


# --- pack -----------------------------------------------------------------------------------------


def _clamped(width: int, source: str, target: str, a: Expr) -> Expr:
    """Lanes of twice `width` bits brought into the range of the target's sign."""
    lane = 2 * width
    if source == "u":
        return lanes(f"vminu{lane}", a, each(ones(width), lane))
    low, high = (0, ones(width)) if target == "u" else (-(1 << width - 1), ones(width - 1))
    return lanes(f"vmaxs{lane}", lanes(f"vmins{lane}", a, each(high, lane)), each(low, lane))


def pack(width: int, source: str, target: str, a: Expr, b: Expr) -> Saturated:
    """Lanes of twice `width` bits, saturated, packed; `source` and `target` are u or s."""
    kept = [_clamped(width, source, target, x) for x in (a, b)]
    lost = either(differ(a, kept[0]), differ(b, kept[1]))
    return lanes(f"vpack{width}", *kept), lost


define("vpkuhum", 14, by_lanes("vpack8"))
define("vpkuwum", 78, by_lanes("vpack16"))
define_saturating("vpkuhus", 142, partial(pack, 8, "u", "u"))
define_saturating("vpkuwus", 206, partial(pack, 16, "u", "u"))
define_saturating("vpkshus", 270, partial(pack, 8, "s", "u"))
define_saturating("vpkswus", 334, partial(pack, 16, "s", "u"))
define_saturating("vpkshss", 398, partial(pack, 8, "s", "s"))
define_saturating("vpkswss", 462, partial(pack, 16, "s", "s"))


def _pixel(a: Expr) -> Expr:
    """A 1-5-5-5 pixel in the low half of each word, from 8-8-8-8: the upper bits of each part."""
    parts = ((9, 0xFC00), (6, 0x03E0), (3, 0x001F))
    out = ZEROS
    for count, mask in parts:
        out = either(out, both(shift("vlshr", a, count, 32), each(mask, 32)))
    return out


define("vpkpx", 782, lambda a, b: lanes("vpack16", _pixel(a), _pixel(b)))


# --- unpack ---------------------------------------------------------------------------------------


def unpack_pixel(a: Expr) -> Expr:
    """8-8-8-8 from a 1-5-5-5 pixel in each word, sign-extended: the first byte is its top bit's."""
    out = both(a, each(0xFF00_0000, 32))
    for count, mask in ((6, 0x001F_0000), (3, 0x0000_1F00)):
        out = either(out, both(shift("vshl", a, count, 32), each(mask, 32)))
    return either(out, both(a, each(0x1F, 32)))


def define_unpack(name: str, xo: int, half: str, width: int) -> None:
    """VRT = lanes of one half of VRB (``h`` or ``l``), sign-extended to twice their width."""

    @insn(VX, f"{name} VRT,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VX) -> None:
        b = s.vr[i.VRB]
        wide = shift("vashr", lanes(f"vmrg{half}{width}", b, b), width, 2 * width)
        s.vr[i.VRT] = unpack_pixel(wide) if name.endswith("px") else wide


define_unpack("vupkhsb", 526, "h", 8)
define_unpack("vupkhsh", 590, "h", 16)
define_unpack("vupklsb", 654, "l", 8)
define_unpack("vupklsh", 718, "l", 16)
define_unpack("vupkhpx", 846, "h", 16)
define_unpack("vupklpx", 974, "l", 16)


# --- shifts of the whole register -----------------------------------------------------------------


def _octets(b: Expr) -> Expr:
    """Bytes to shift by: bits 121 to 124 of VRB."""
    return trunc(b >> 3, 8) & 15


@insn(VX, "vslo VRT,VRA,VRB", OPCD=4, XO=1036, needs="VEC", features=ALTIVEC)
def vslo(s: Body, i: VX) -> None:
    control = lanes("vadd8", splat(_octets(s.vr[i.VRB])), COUNTING)
    s.vr[i.VRT] = lanes("vperm", s.vr[i.VRA], ZEROS, control)


@insn(VX, "vsro VRT,VRA,VRB", OPCD=4, XO=1100, needs="VEC", features=ALTIVEC)
def vsro(s: Body, i: VX) -> None:
    first = const(16, 8) - _octets(s.vr[i.VRB])
    control = lanes("vadd8", splat(first), COUNTING)
    s.vr[i.VRT] = lanes("vperm", ZEROS, s.vr[i.VRA], control)


def _bits(b: Expr) -> Expr:
    """Bits to shift by.  Every byte of VRB must agree in them; here the last one decides."""
    return b & 7


@insn(VX, "vsl VRT,VRA,VRB", OPCD=4, XO=452, needs="VEC", features=ALTIVEC)
def vsl(s: Body, i: VX) -> None:
    s.vr[i.VRT] = s.vr[i.VRA] << _bits(s.vr[i.VRB])


@insn(VX, "vsr VRT,VRA,VRB", OPCD=4, XO=708, needs="VEC", features=ALTIVEC)
def vsr(s: Body, i: VX) -> None:
    s.vr[i.VRT] = s.vr[i.VRA] >> _bits(s.vr[i.VRB])
