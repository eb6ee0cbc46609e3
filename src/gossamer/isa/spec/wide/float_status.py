"""FPSCR of 64 bits, where decimal floating point is: DRN, its rounding mode, above the rest.

Source: Power ISA 2.07 Book I 4.6.8, 4.2.2.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import eq, select, trunc, zext
from gossamer.isa.form import Field
from gossamer.isa.insn import insn
from gossamer.isa.spec.float_status import record, set_fpscr
from gossamer.isa.spec.forms import XFL, XRc

SINCE: Final = ("2.05",)
DRN: Final = 7


class XFLLW(XFL):
    """All of FPSCR (L), or fields of its upper half (W)."""

    L, W = Field(6, 6), Field(15, 15)


class XRcW(XRc):
    """A field of FPSCR's upper half."""

    W = Field(15, 15)


@insn(XRc, "mffs{Rc} FRT", OPCD=63, XO=583, needs="FP", features=SINCE, width=64, name="mffs_2_05")
def mffs(s: Body, i: XRc) -> None:
    s.fpr[i.FRT] = zext(s.fpscr, 64) | zext(s.drn, 64) << 32
    record(s, i.Rc, s.fpscr)


@insn(
    XFLLW, "mtfsf{Rc} FLM,FRB,L,W", OPCD=63, XO=711, L=1, needs="FP", features=SINCE, width=64,
    name="mtfsf_all",
)  # fmt: skip
def mtfsf_all(s: Body, i: XFLLW) -> None:
    value = s.fpr[i.FRB]
    s.drn = trunc(value >> 32, 8) & DRN
    set_fpscr(s, trunc(value, 32), i.Rc)


@insn(
    XFLLW, "mtfsf{Rc} FLM,FRB,L,W", OPCD=63, XO=711, L=0, W=1, needs="FP", features=SINCE,
    width=64, name="mtfsf_upper",
)  # fmt: skip
def mtfsf_upper(s: Body, i: XFLLW) -> None:
    """DRN is in the last of these fields."""
    s.drn = select(trunc(i.FLM, 1), trunc(s.fpr[i.FRB] >> 32, 8) & DRN, s.drn)
    set_fpscr(s, s.fpscr, i.Rc)


@insn(
    XRcW, "mtfsfi{Rc} BFF,U,W", OPCD=63, XO=134, W=1, needs="FP", features=SINCE, width=64,
    name="mtfsfi_upper",
)  # fmt: skip
def mtfsfi_upper(s: Body, i: XRcW) -> None:
    s.drn = select(eq(i.BFF, 7), zext(i.U, 8) & DRN, s.drn)
    set_fpscr(s, s.fpscr, i.Rc)
