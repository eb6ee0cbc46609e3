"""AltiVec integer arithmetic, comparisons, logic and shifts by lanes.

Source: AltiVec PEM chapters 4 (families) and 6.  Most are one operation on lanes of 8, 16 and 32
bits: the tables below list them by extended opcode.  A saturating instruction sets VSCR[SAT] when
a lane's result differs from the exact one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, select, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.parts import ALTIVEC
from gossamer.isa.spec.vector_forms import VA, VC, VX
from gossamer.isa.vector.lanewise import (
    ONES,
    blend,
    both,
    differ,
    each,
    either,
    invert,
    lanes,
    no_bit,
    shift,
    without,
)

Two = Callable[[Expr, Expr], Expr]

LETTERS: Final = {8: "b", 16: "h", 32: "w"}


def define(name: str, xo: int, function: Two) -> None:
    """An instruction VRT = function(VRA, VRB)."""

    @insn(VX, f"{name} VRT,VRA,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VX) -> None:
        s.vr[i.VRT] = function(s.vr[i.VRA], s.vr[i.VRB])


def define_saturating(name: str, xo: int, function: Callable[[Expr, Expr], Saturated]) -> None:
    """An instruction VRT = function(VRA, VRB) that may set SAT."""

    @insn(VX, f"{name} VRT,VRA,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VX) -> None:
        saturate(s, i, function(s.vr[i.VRA], s.vr[i.VRB]))


Saturated = tuple[Expr, Expr]


def saturate(s: Body, i: VX | VA, result: Saturated) -> None:
    """Write a result; its second part has ones where it was saturated."""
    value, lost = result
    s.vr[i.VRT] = value
    s.vscr = s.vscr | zext(~no_bit(lost), 32)


def by_lanes(op: str) -> Two:
    return lambda a, b: lanes(op, a, b)


# --- add, subtract, average, minimum, maximum, shifts: instruction, operation, first opcode ----

#: Rows of three instructions (b, h, w), 64 apart.
FAMILIES: Final = (
    ("vaddu{}m", "vadd", 0),
    ("vsubu{}m", "vsub", 1024),
    ("vmaxu{}", "vmaxu", 2),
    ("vmaxs{}", "vmaxs", 258),
    ("vminu{}", "vminu", 514),
    ("vmins{}", "vmins", 770),
    ("vavgu{}", "vavgu", 1026),
    ("vrl{}", "vrotl", 4),
    ("vsl{}", "vshl", 260),
    ("vsr{}", "vlshr", 516),
    ("vsra{}", "vashr", 772),
)
SATURATING: Final = (
    ("vaddu{}s", "vaddu", "vadd", 512),
    ("vadds{}s", "vadds", "vadd", 768),
    ("vsubu{}s", "vsubu", "vsub", 1536),
    ("vsubs{}s", "vsubs", "vsub", 1792),
)


def saturated_lanes(op: str, modulo: str) -> Callable[[Expr, Expr], Saturated]:
    def result(a: Expr, b: Expr) -> Saturated:
        value = lanes(op, a, b)
        return value, differ(value, lanes(modulo, a, b))

    return result


def signed_average(width: int) -> Two:
    """The unsigned average of operands moved up by half the range."""
    half = each(1 << width - 1, width)
    return lambda a, b: differ(lanes(f"vavgu{width}", differ(a, half), differ(b, half)), half)


for _n, (_width, _letter) in enumerate(LETTERS.items()):
    for _name, _op, _xo in FAMILIES:
        define(_name.format(_letter), _xo + 64 * _n, by_lanes(f"{_op}{_width}"))
    define(f"vavgs{_letter}", 1282 + 64 * _n, signed_average(_width))
    for _name, _op, _modulo, _xo in SATURATING:
        define_saturating(
            _name.format(_letter),
            _xo + 64 * _n,
            saturated_lanes(f"{_op}{_width}", f"{_modulo}{_width}"),
        )


@insn(VX, "vaddcuw VRT,VRA,VRB", OPCD=4, XO=384, needs="VEC", features=ALTIVEC)
def vaddcuw(s: Body, i: VX) -> None:
    """The carry out of each word's sum."""
    a, b = s.vr[i.VRA], s.vr[i.VRB]
    s.vr[i.VRT] = shift("vlshr", lanes("vcgtu32", a, lanes("vadd32", a, b)), 31, 32)


@insn(VX, "vsubcuw VRT,VRA,VRB", OPCD=4, XO=1408, needs="VEC", features=ALTIVEC)
def vsubcuw(s: Body, i: VX) -> None:
    """One where subtracting a word borrows nothing."""
    borrow = lanes("vcgtu32", s.vr[i.VRB], s.vr[i.VRA])
    s.vr[i.VRT] = shift("vlshr", invert(borrow), 31, 32)


# --- comparisons ----------------------------------------------------------------------------------


def compared(s: Body, i: VC, mask: Expr) -> None:
    """Write a comparison's mask; with Rc CR6 becomes all true, 0, all false, 0."""
    s.vr[i.VRT] = mask
    code = select(no_bit(mask), const(2, 8), const(0, 8))
    s.write("crf", const(6, 32), select(eq(mask, ONES), const(8, 8), code), i.Rc)


def define_comparison(name: str, xo: int, op: str) -> None:
    @insn(VC, f"{name}{{Rc}} VRT,VRA,VRB", name=name, OPCD=4, XO=xo, needs="VEC", features=ALTIVEC)
    def body(s: Body, i: VC) -> None:
        compared(s, i, lanes(op, s.vr[i.VRA], s.vr[i.VRB]))


for _n, (_width, _letter) in enumerate(LETTERS.items()):
    define_comparison(f"vcmpequ{_letter}", 6 + 64 * _n, f"vceq{_width}")
    define_comparison(f"vcmpgtu{_letter}", 518 + 64 * _n, f"vcgtu{_width}")
    define_comparison(f"vcmpgts{_letter}", 774 + 64 * _n, f"vcgts{_width}")


# --- logic ----------------------------------------------------------------------------------------

define("vand", 1028, both)
define("vandc", 1092, without)
define("vor", 1156, either)
define("vxor", 1220, differ)
define("vnor", 1284, lambda a, b: invert(either(a, b)))


@insn(VA, "vsel VRT,VRA,VRB,VRC", OPCD=4, XO=42, needs="VEC", features=ALTIVEC)
def vsel(s: Body, i: VA) -> None:
    s.vr[i.VRT] = blend(s.vr[i.VRC], s.vr[i.VRB], s.vr[i.VRA])
