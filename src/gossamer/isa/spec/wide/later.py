"""Fixed-point instructions that levels 2.02 to 2.07 brought.

Source: Power ISA 2.07 Book I 3.3; Book II 4.4.2 (reservation of bytes and halfwords).
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, bswap, const, ltu, select, sext, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import ABC, X, XRc, XRecord
from gossamer.isa.spec.load_store import ea_x, reserve, store_conditional

SINCE_2_02: Final = ("2.02",)
SINCE_2_03: Final = ("2.03",)
SINCE_2_05: Final = ("2.05",)
SINCE_2_06: Final = ("2.06",)
ONES: Final = 0x0101_0101_0101_0101


def bits_in_bytes(x: Expr) -> Expr:
    """How many ones each byte of 64 bits has, in that byte."""
    x = x - (x >> 1 & 0x55 * ONES)
    x = (x & 0x33 * ONES) + (x >> 2 & 0x33 * ONES)
    return x + (x >> 4) & 0x0F * ONES


@insn(X, "popcntb RA,RS", OPCD=31, XO=122, features=SINCE_2_02, width=64)
def popcntb(s: Body, i: X) -> None:
    s.gpr[i.RA] = bits_in_bytes(s.gpr[i.RS])


def bits_in_words(x: Expr) -> Expr:
    """How many ones each word of 64 bits has, in that word."""
    pairs = bits_in_bytes(x)
    pairs = pairs + (pairs >> 8)
    return pairs + (pairs >> 16) & 0x3F_0000_003F


@insn(X, "popcntw RA,RS", OPCD=31, XO=378, features=SINCE_2_06, width=64)
def popcntw(s: Body, i: X) -> None:
    s.gpr[i.RA] = bits_in_words(s.gpr[i.RS])


@insn(X, "popcntd RA,RS", OPCD=31, XO=506, features=SINCE_2_06, width=64)
def popcntd(s: Body, i: X) -> None:
    words = bits_in_words(s.gpr[i.RS])
    s.gpr[i.RA] = words + (words >> 32) & 0x7F


@insn(X, "prtyw RA,RS", OPCD=31, XO=154, features=SINCE_2_05, width=64)
def prtyw(s: Body, i: X) -> None:
    """The parity of the low bits of each word's bytes."""
    x = s.gpr[i.RS]
    x = x ^ x >> 8
    s.gpr[i.RA] = (x ^ x >> 16) & 0x1_0000_0001


@insn(X, "prtyd RA,RS", OPCD=31, XO=186, features=SINCE_2_05, width=64)
def prtyd(s: Body, i: X) -> None:
    x = s.gpr[i.RS]
    x = x ^ x >> 8
    x = x ^ x >> 16
    s.gpr[i.RA] = (x ^ x >> 32) & 1


@insn(X, "cmpb RA,RS,RB", OPCD=31, XO=508, features=SINCE_2_05, width=64)
def cmpb(s: Body, i: X) -> None:
    """Ones in each byte that is equal."""
    x = s.gpr[i.RS] ^ s.gpr[i.RB]
    differ = ((x & 0x7F * ONES) + 0x7F * ONES | x) >> 7 & ONES
    s.gpr[i.RA] = (differ ^ ONES) * 0xFF


@insn(X, "bpermd RA,RS,RB", OPCD=31, XO=252, features=SINCE_2_06, width=64)
def bpermd(s: Body, i: X) -> None:
    """Eight bits of RB, each named by a byte of RS; zero where that is above 63."""
    source, value = s.gpr[i.RS], s.word(0)
    for n in range(8):
        index = source >> (56 - 8 * n) & 0xFF
        bit = s.gpr[i.RB] >> (const(63, 64) - (index & 63)) & 1
        value = value | select(ltu(index, 64), bit, 0) << (7 - n)
    s.gpr[i.RA] = value


@insn(ABC, "isel RT,RA,RB,BC", OPCD=31, XO=15, features=SINCE_2_03, width=64)
def isel(s: Body, i: ABC) -> None:
    s.gpr[i.RT] = select(s.cr_bit(i.BC), s.ra0(i.RA), s.gpr[i.RB])


@insn(X, "ldbrx RT,RA,RB", OPCD=31, XO=532, features=SINCE_2_06, width=64)
def ldbrx(s: Body, i: X) -> None:
    s.gpr[i.RT] = bswap(s.load(ea_x(s, i), 8))


@insn(X, "stdbrx RS,RA,RB", OPCD=31, XO=660, features=SINCE_2_06, width=64)
def stdbrx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), bswap(s.gpr[i.RS]), 8)


# --- reservation ----------------------------------------------------------------------------------


@insn(X, "lbarx RT,RA,RB", OPCD=31, XO=52, features=SINCE_2_06, width=64)
def lbarx(s: Body, i: X) -> None:
    reserve(s, i, 1)


@insn(X, "lharx RT,RA,RB", OPCD=31, XO=116, features=SINCE_2_06, width=64)
def lharx(s: Body, i: X) -> None:
    reserve(s, i, 2)


@insn(
    XRecord,
    "stbcx. RS,RA,RB",
    name="stbcx.",
    OPCD=31,
    XO=694,
    RECORD=1,
    features=SINCE_2_06,
    width=64,
)
def stbcx(s: Body, i: XRecord) -> None:
    store_conditional(s, i, 1)


@insn(
    XRecord,
    "sthcx. RS,RA,RB",
    name="sthcx.",
    OPCD=31,
    XO=726,
    RECORD=1,
    features=SINCE_2_06,
    width=64,
)
def sthcx(s: Body, i: XRecord) -> None:
    store_conditional(s, i, 2)


# --- floating-point loads and moves ---------------------------------------------------------------


@insn(X, "lfiwax FRT,RA,RB", needs="FP", OPCD=31, XO=855, features=SINCE_2_05, width=64)
def lfiwax(s: Body, i: X) -> None:
    s.fpr[i.FRT] = sext(s.load(ea_x(s, i), 4), 64)


@insn(X, "lfiwzx FRT,RA,RB", needs="FP", OPCD=31, XO=887, features=SINCE_2_06, width=64)
def lfiwzx(s: Body, i: X) -> None:
    s.fpr[i.FRT] = zext(s.load(ea_x(s, i), 4), 64)


@insn(X, "fmrgew FRT,FRA,FRB", needs="FP", OPCD=63, XO=966, features=("2.07",), width=64)
def fmrgew(s: Body, i: X) -> None:
    s.fpr[i.FRT] = s.fpr[i.FRA] >> 32 << 32 | s.fpr[i.FRB] >> 32


@insn(X, "fmrgow FRT,FRA,FRB", needs="FP", OPCD=63, XO=838, features=("2.07",), width=64)
def fmrgow(s: Body, i: X) -> None:
    s.fpr[i.FRT] = s.fpr[i.FRA] << 32 | zext(trunc(s.fpr[i.FRB], 32), 64)


@insn(XRc, "fcpsgn{Rc} FRT,FRA,FRB", needs="FP", OPCD=63, XO=8, features=SINCE_2_05, width=64)
def fcpsgn(s: Body, i: XRc) -> None:
    sign = 1 << 63
    s.fpr[i.FRT] = s.fpr[i.FRA] & sign | s.fpr[i.FRB] & ~sign
    s.write("crf", 1, trunc(s.fpscr >> 28, 8), i.Rc)
