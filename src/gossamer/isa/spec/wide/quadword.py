"""Quadwords in pairs of registers, the branch to TAR, and packed decimals.

Source: Power ISA 2.07 Book I 2.4 (bctar), 3.3.4 (stq), 3.3.13 (cbcdtd), 6.11 (bcdadd.); Book II
4.4.2 (lqarx).
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.decimal.table import FIELD_AT, OPERATIONS
from gossamer.isa.expr import Expr, const, eq, select, trunc, zext
from gossamer.isa.form import Field
from gossamer.isa.insn import insn
from gossamer.isa.service import SERVICES
from gossamer.isa.spec.alignment import check_aligned
from gossamer.isa.spec.branch import condition, link
from gossamer.isa.spec.forms import DS, XLLK, X, XRecord
from gossamer.isa.spec.load_store import ea_x
from gossamer.isa.spec.vector_forms import VX
from gossamer.isa.spec.wide.memory import ea_ds

SINCE: Final = ("2.07",)
_DECIMAL: Final = SERVICES["decimal"]
_NUMBERS: Final = {name: n for n, name in enumerate(OPERATIONS)}


class DSPair(DS):
    """A pair of registers, named by its even one."""

    RSP, ODD = Field(6, 9, "r{}", shift=1), Field(10, 10)


class XPair(XRecord):
    """The same with an index."""

    RTP, RSP, ODD = Field(6, 9, "r{}", shift=1), Field(6, 9, "r{}", shift=1), Field(10, 10)


def pair(s: Body, n: Expr) -> Expr:
    """Registers 2n and 2n + 1, 128 bits."""
    first = number(n) << 1
    return zext(s.gpr[first], 128) << 64 | zext(s.gpr[first + 1], 128)


@insn(DSPair, "stq RSP,DS(RA)", OPCD=62, XO=2, ODD=0, features=SINCE, width=64)
def stq(s: Body, i: DSPair) -> None:
    s.store(ea_ds(s, i), pair(s, i.RSP), 16)


@insn(XPair, "lqarx RTP,RA,RB", OPCD=31, XO=276, ODD=0, features=SINCE, width=64)
def lqarx(s: Body, i: XPair) -> None:
    """Neither RA nor RB may be the first register of the pair."""
    first = number(i.RTP) << 1
    s.illegal(eq(first, number(i.RA)) | eq(first, number(i.RB)))
    ea = ea_x(s, i)
    check_aligned(s, i, ea, size=16)
    value = s.load(ea, 16)
    s.gpr[first] = trunc(value >> 64, 64)
    s.gpr[first + 1] = trunc(value, 64)
    s.reserved = 1
    s.reserve_ea = ea


@insn(
    XPair, "stqcx. RSP,RA,RB", name="stqcx.", OPCD=31, XO=182, ODD=0, RECORD=1, features=SINCE,
    width=64,
)  # fmt: skip
def stqcx(s: Body, i: XPair) -> None:
    ea = ea_x(s, i)
    check_aligned(s, i, ea, size=16)
    held = eq(s.reserved, 1) & eq(s.reserve_ea, ea)
    s.store(ea, pair(s, i.RSP), 16, held)
    s.crf[0] = select(held, const(2, 8), const(0, 8)) | s.so
    s.reserved = 0


@insn(XLLK, "bctar{LK} BO,BI", OPCD=19, XO=560, features=SINCE, width=64)
def bctar(s: Body, i: XLLK) -> None:
    taken = condition(s, i)
    s.branch(s.tar, taken)
    link(s, i.LK)


# --- packed decimals ------------------------------------------------------------------------------


class VXPacked(VX):
    """A sum of packed decimals; PS: a plus is F and not C."""

    ONE, PS, PXO = Field(21, 21), Field(22, 22), Field(23, 31)


def packed(name: str, pxo: int) -> None:
    """VRT = VRA + VRB or VRA - VRB, 31 digits and a sign; CR6 compares it with zero."""

    @insn(
        VXPacked, f"{name} VRT,VRA,VRB,PS", name=name, needs="VEC", OPCD=4, ONE=1, PXO=pxo,
        features=SINCE, width=64,
    )  # fmt: skip
    def body(s: Body, i: VXPacked) -> None:
        code = zext(i.PS, 32) << 8 | (_NUMBERS[name] << 1 | 1)
        result = _DECIMAL(code, const(0, 64), s.vr[i.VRA], s.vr[i.VRB])
        s.vr[i.VRT] = trunc(result, 128)
        s.crf[6] = trunc(result >> FIELD_AT, 8) & 15


packed("bcdadd.", 1)
packed("bcdsub.", 65)


def declets(name: str, xo: int) -> None:
    """Six digits of each word, packed four or ten bits for one or three."""

    @insn(X, f"{name} RA,RS", name=name, OPCD=31, XO=xo, features=("2.06",), width=64)
    def body(s: Body, i: X) -> None:
        code = const(_NUMBERS[name] << 1 | 1, 32)
        result = _DECIMAL(code, const(0, 64), zext(s.gpr[i.RS], 128), const(0, 128))
        s.gpr[i.RA] = trunc(result, 64)


declets("cdtbcd", 282)
declets("cbcdtd", 314)


# --- nothing --------------------------------------------------------------------------------------


class HashField(Field):
    """A displacement of -512 to -8, in units of eight bytes: five bits and the word's last."""

    @property
    def mask(self) -> int:
        return super().mask | 1

    def get(self, word: int) -> int:
        return 8 * ((word & 1) << 5 | word >> 21 & 31) - 512

    def put(self, value: int) -> int:
        raw, odd = divmod(value + 512, 8)
        if odd or not 0 <= raw < 64:
            raise ValueError(f"{value} does not fit")
        return (raw & 31) << 21 | raw >> 5


class Hash(X):
    """Of a later level; here the word is reserved to do nothing."""

    HD = HashField(6, 10)


def nothing(name: str, xo: int) -> None:
    @insn(Hash, f"{name} RB,HD(RA)", name=name, OPCD=31, XO=xo, features=SINCE, width=64)
    def body(s: Body, i: Hash) -> None:
        """A reserved no-op (Power ISA 2.07 Book I 1.8.3)."""


nothing("hashst", 722)
nothing("hashchk", 754)
nothing("hashstp", 658)
nothing("hashchkp", 690)
