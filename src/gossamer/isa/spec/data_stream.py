"""Data stream touches of the 7400: hints, with no caches to fill.

They need no vector unit, so MSR[VEC] does not matter; Linux stops all streams at each change of
address space.  Source: AltiVec Programming Environments Manual 4.2.2.2 and 5.2.1.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.form import Field, Form
from gossamer.isa.insn import insn
from gossamer.isa.spec.parts import ALTIVEC


class DataStream(Form):
    """A stream's number, and where it begins and how it goes."""

    T = Field(6, 6)
    STRM = Field(9, 10)
    RA, RB = Field(11, 15, "r{}"), Field(16, 20, "r{}")
    XO = Field(21, 30)


@insn(DataStream, "dst RA,RB,STRM", OPCD=31, T=0, XO=342, features=ALTIVEC)
def dst(s: Body, i: DataStream) -> None:
    """A hint; it never faults."""


@insn(DataStream, "dstt RA,RB,STRM", OPCD=31, T=1, XO=342, features=ALTIVEC)
def dstt(s: Body, i: DataStream) -> None:
    """A hint; it never faults."""


@insn(DataStream, "dstst RA,RB,STRM", OPCD=31, T=0, XO=374, features=ALTIVEC)
def dstst(s: Body, i: DataStream) -> None:
    """A hint; it never faults."""


@insn(DataStream, "dststt RA,RB,STRM", OPCD=31, T=1, XO=374, features=ALTIVEC)
def dststt(s: Body, i: DataStream) -> None:
    """A hint; it never faults."""


@insn(DataStream, "dss STRM", OPCD=31, T=0, XO=822, features=ALTIVEC)
def dss(s: Body, i: DataStream) -> None:
    """No stream is running."""


@insn(DataStream, "dssall", OPCD=31, T=1, XO=822, features=ALTIVEC)
def dssall(s: Body, i: DataStream) -> None:
    """No stream is running."""
