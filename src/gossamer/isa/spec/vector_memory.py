"""AltiVec loads, stores, alignment vectors and VSCR.

Source: AltiVec PEM chapter 4 (low address bits are ignored, nothing is misaligned) and chapter
2 (VSCR).  What stays open there: an element load leaves the other elements as they were.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, const, low, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import X
from gossamer.isa.spec.load_store import ea_x
from gossamer.isa.spec.parts import ALTIVEC
from gossamer.isa.spec.vector_forms import VX
from gossamer.isa.vector.lanes import WIDTH
from gossamer.isa.vector.lanewise import either, lanes, splat, without

VSCR_BITS: Final = 0x0001_0001  # NJ and SAT; the others do not exist
COUNTING: Final = const(int.from_bytes(bytes(range(16)), "big"), WIDTH)


def load_vector(s: Body, i: X) -> None:
    s.vr[i.VRT] = s.load(ea_x(s, i) & ~15, 16)


def store_vector(s: Body, i: X) -> None:
    s.store(ea_x(s, i) & ~15, s.vr[i.VRS], 16)


@insn(X, "lvx VRT,RA,RB", OPCD=31, XO=103, needs="VEC", features=ALTIVEC)
def lvx(s: Body, i: X) -> None:
    load_vector(s, i)


@insn(X, "lvxl VRT,RA,RB", OPCD=31, XO=359, needs="VEC", features=ALTIVEC)
def lvxl(s: Body, i: X) -> None:
    load_vector(s, i)


@insn(X, "stvx VRS,RA,RB", OPCD=31, XO=231, needs="VEC", features=ALTIVEC)
def stvx(s: Body, i: X) -> None:
    store_vector(s, i)


@insn(X, "stvxl VRS,RA,RB", OPCD=31, XO=487, needs="VEC", features=ALTIVEC)
def stvxl(s: Body, i: X) -> None:
    store_vector(s, i)


# --- elements -------------------------------------------------------------------------------------


def _place(s: Body, ea: Expr, size: int) -> Expr:
    """Bits by which the element of `size` bytes at `ea` stands from the right, 128 bits wide."""
    near = low(ea) & (16 - size)
    return zext(select(s.le, near, number(16 - size) - near) << 3, WIDTH)


def load_element(s: Body, i: X, size: int) -> None:
    ea = ea_x(s, i) & -size
    where = _place(s, ea, size)
    value = zext(s.load(ea, size), WIDTH) << where
    field = const((1 << 8 * size) - 1, WIDTH) << where
    s.vr[i.VRT] = either(without(s.vr[i.VRT], field), value)


def store_element(s: Body, i: X, size: int) -> None:
    ea = ea_x(s, i) & -size
    s.store(ea, s.vr[i.VRS] >> _place(s, ea, size), size)


@insn(X, "lvebx VRT,RA,RB", OPCD=31, XO=7, needs="VEC", features=ALTIVEC)
def lvebx(s: Body, i: X) -> None:
    load_element(s, i, 1)


@insn(X, "lvehx VRT,RA,RB", OPCD=31, XO=39, needs="VEC", features=ALTIVEC)
def lvehx(s: Body, i: X) -> None:
    load_element(s, i, 2)


@insn(X, "lvewx VRT,RA,RB", OPCD=31, XO=71, needs="VEC", features=ALTIVEC)
def lvewx(s: Body, i: X) -> None:
    load_element(s, i, 4)


@insn(X, "stvebx VRS,RA,RB", OPCD=31, XO=135, needs="VEC", features=ALTIVEC)
def stvebx(s: Body, i: X) -> None:
    store_element(s, i, 1)


@insn(X, "stvehx VRS,RA,RB", OPCD=31, XO=167, needs="VEC", features=ALTIVEC)
def stvehx(s: Body, i: X) -> None:
    store_element(s, i, 2)


@insn(X, "stvewx VRS,RA,RB", OPCD=31, XO=199, needs="VEC", features=ALTIVEC)
def stvewx(s: Body, i: X) -> None:
    store_element(s, i, 4)


# --- alignment vectors ----------------------------------------------------------------------------


@insn(X, "lvsl VRT,RA,RB", OPCD=31, XO=6, needs="VEC", features=ALTIVEC)
def lvsl(s: Body, i: X) -> None:
    s.vr[i.VRT] = lanes("vadd8", splat(trunc(ea_x(s, i) & 15, 8)), COUNTING)


@insn(X, "lvsr VRT,RA,RB", OPCD=31, XO=38, needs="VEC", features=ALTIVEC)
def lvsr(s: Body, i: X) -> None:
    first = const(16, 8) - trunc(ea_x(s, i) & 15, 8)
    s.vr[i.VRT] = lanes("vadd8", splat(first), COUNTING)


# --- VSCR -----------------------------------------------------------------------------------------


@insn(VX, "mfvscr VRT", OPCD=4, XO=1540, needs="VEC", features=ALTIVEC)
def mfvscr(s: Body, i: VX) -> None:
    s.vr[i.VRT] = zext(s.vscr, WIDTH)


@insn(VX, "mtvscr VRB", OPCD=4, XO=1604, needs="VEC", features=ALTIVEC)
def mtvscr(s: Body, i: VX) -> None:
    s.vscr = low(s.vr[i.VRB]) & VSCR_BITS
