"""Conversions between doublewords and floating point, roots, rounding: 64-bit parts.

Source: Power ISA 2.03 Book I 4.6.5.1 (fsqrt), 4.6.6 (fcfid, fctid); 2.07 Book I 4.6.6, 4.6.7.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import const
from gossamer.isa.float_commit import commit
from gossamer.isa.insn import insn
from gossamer.isa.service import Service
from gossamer.isa.softfloat.arith import SINGLE
from gossamer.isa.softfloat.wide import (
    AS_FPSCR,
    AWAY,
    NEVER_INEXACT,
    ROOT,
    UNSIGNED,
    UNSIGNED_RESULT,
    WORD_RESULT,
    float_estimate,
    float_from_integer,
    float_square_root,
    float_to_integer,
    float_to_integral,
)
from gossamer.isa.spec.forms import A, XRc

LEVELS = {"": (), "2.06": ("2.06",), "2.02": ("2.02",)}


def one(name: str, opcd: int, xo: int, of: Service, options: int, since: str = "") -> None:
    """FRT from FRB by a service."""

    @insn(
        XRc, f"{name}{{Rc}} FRT,FRB", name=name, needs="FP", OPCD=opcd, XO=xo,
        features=LEVELS[since], width=64,
    )  # fmt: skip
    def body(s: Body, i: XRc) -> None:
        commit(s, i, of(s.fpr[i.FRB], s.fpscr, const(options, 8)))


one("fcfid", 63, 846, float_from_integer, 0)
one("fcfids", 59, 846, float_from_integer, SINGLE, "2.06")
one("fcfidu", 63, 974, float_from_integer, UNSIGNED, "2.06")
one("fcfidus", 59, 974, float_from_integer, UNSIGNED | SINGLE, "2.06")
one("fctid", 63, 814, float_to_integer, AS_FPSCR)
one("fctidz", 63, 815, float_to_integer, 1)
one("fctidu", 63, 942, float_to_integer, AS_FPSCR | UNSIGNED_RESULT, "2.06")
one("fctiduz", 63, 943, float_to_integer, 1 | UNSIGNED_RESULT, "2.06")
one("fctiwu", 63, 142, float_to_integer, AS_FPSCR | UNSIGNED_RESULT | WORD_RESULT, "2.06")
one("fctiwuz", 63, 143, float_to_integer, 1 | UNSIGNED_RESULT | WORD_RESULT, "2.06")
one("frin", 63, 392, float_to_integral, AWAY | NEVER_INEXACT, "2.02")
one("friz", 63, 424, float_to_integral, 1 | NEVER_INEXACT, "2.02")
one("frip", 63, 456, float_to_integral, 2 | NEVER_INEXACT, "2.02")
one("frim", 63, 488, float_to_integral, 3 | NEVER_INEXACT, "2.02")


def root(name: str, opcd: int, xo: int, of: Service, options: int, since: str = "") -> None:
    @insn(
        A, f"{name}{{Rc}} FRT,FRB", name=name, needs="FP", OPCD=opcd, XO=xo,
        features=LEVELS[since], width=64,
    )  # fmt: skip
    def body(s: Body, i: A) -> None:
        commit(s, i, of(s.fpr[i.FRB], s.fpscr, const(options, 8)))


root("fsqrt", 63, 22, float_square_root, 0)
root("fsqrts", 59, 22, float_square_root, SINGLE)
root("fre", 63, 24, float_estimate, 0, "2.02")
root("frsqrtes", 59, 26, float_estimate, ROOT | SINGLE, "2.02")
