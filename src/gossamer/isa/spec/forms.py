"""The instruction forms, with the books' field names.

Source: PowerPC Architecture Book I 1.7; MPC750UM appendix A.  A form is given twice where some of
its instructions have a flag (``Rc``, ``OE``) and in others the same bit is reserved: reserved bits
are no field, so they are ignored.
"""

from __future__ import annotations

from gossamer.isa.form import Field, Form, SplitField


class I(Form):  # noqa: E742
    """Branch by a 24-bit displacement."""

    LI = Field(6, 29, signed=True, shift=2)
    AA, LK = Field(30, 30), Field(31, 31)


class B(Form):
    """Conditional branch."""

    BO, BI = Field(6, 10), Field(11, 15)
    BD = Field(16, 29, signed=True, shift=2)
    AA, LK = Field(30, 30), Field(31, 31)


class SC(Form):
    """System call."""

    ONE = Field(30, 30)


class SCLEV(SC):
    """System call of a level."""

    LEV = Field(20, 26)


class D(Form):
    """A 16-bit displacement or immediate."""

    RT, RS, RA = Field(6, 10, "r{}"), Field(6, 10, "r{}"), Field(11, 15, "r{}")
    FRT, FRS = Field(6, 10, "f{}"), Field(6, 10, "f{}")
    TO = Field(6, 10)
    BF, L = Field(6, 8, "cr{}"), Field(10, 10)
    D = Field(16, 31, signed=True)
    SI = Field(16, 31, signed=True)
    UI = Field(16, 31)


class X(Form):
    """Register operands and a 10-bit extended opcode."""

    RT, RS, RA, RB = (
        Field(6, 10, "r{}"),
        Field(6, 10, "r{}"),
        Field(11, 15, "r{}"),
        Field(16, 20, "r{}"),
    )
    FRT, FRS, FRA, FRB = (
        Field(6, 10, "f{}"),
        Field(6, 10, "f{}"),
        Field(11, 15, "f{}"),
        Field(16, 20, "f{}"),
    )
    VRT, VRS = Field(6, 10, "v{}"), Field(6, 10, "v{}")
    TO, BT = Field(6, 10), Field(6, 10)
    BF, L, BFA = Field(6, 8, "cr{}"), Field(10, 10), Field(11, 13, "cr{}")
    BFF = Field(6, 8)  # a field of FPSCR
    SR = Field(12, 15)
    SH, NB = Field(16, 20), Field(16, 20)
    U = Field(16, 19)
    WS, E = Field(16, 20), Field(16, 16)
    XO = Field(21, 30)


class XRc(X):
    """X-form with a record bit."""

    Rc = Field(31, 31)


class XRecord(X):
    """X-form whose record bit is always one (stwcx.)."""

    RECORD = Field(31, 31)


class XL(Form):
    """Condition register and branch register."""

    BT, BA, BB = Field(6, 10), Field(11, 15), Field(16, 20)
    BO, BI = Field(6, 10), Field(11, 15)
    BF, BFA = Field(6, 8, "cr{}"), Field(11, 13, "cr{}")
    XO = Field(21, 30)


class XLLK(XL):
    """XL-form with a link bit."""

    LK = Field(31, 31)


class XFX(Form):
    """Special-purpose registers and CR fields."""

    RT, RS = Field(6, 10, "r{}"), Field(6, 10, "r{}")
    SPRL, SPRH = Field(11, 15), Field(16, 20)  # low and high half of the number
    FXM = Field(12, 19)
    XO = Field(21, 30)


class XFXONE(XFX):
    """One CR field."""

    ONE = Field(11, 11)


class XFL(Form):
    """FPSCR fields."""

    FLM, FRB = Field(7, 14), Field(16, 20, "f{}")
    XO, Rc = Field(21, 30), Field(31, 31)


class XO(Form):
    """Arithmetic with a 9-bit extended opcode."""

    RT, RA, RB = Field(6, 10, "r{}"), Field(11, 15, "r{}"), Field(16, 20, "r{}")
    XO, Rc = Field(22, 30), Field(31, 31)


class XOOE(XO):
    """XO-form with an overflow bit."""

    OE = Field(21, 21)


class M(Form):
    """Rotate and mask."""

    RS, RA, RB = Field(6, 10, "r{}"), Field(11, 15, "r{}"), Field(16, 20, "r{}")
    SH, MB, ME = Field(16, 20), Field(21, 25), Field(26, 30)
    Rc = Field(31, 31)


class MD(Form):
    """Rotate and mask of doublewords."""

    RS, RA, RB = Field(6, 10, "r{}"), Field(11, 15, "r{}"), Field(16, 20, "r{}")
    SH = SplitField(16, 20, high=30)
    MB, ME = SplitField(21, 25, high=26), SplitField(21, 25, high=26)
    XO, Rc = Field(27, 29), Field(31, 31)


class MDS(MD):
    """The same with the count in a register."""

    XO = Field(27, 30)


class DS(Form):
    """A displacement of 14 bits, in units of four bytes."""

    RT, RS, RA = Field(6, 10, "r{}"), Field(6, 10, "r{}"), Field(11, 15, "r{}")
    DS = Field(16, 29, signed=True, shift=2)
    XO = Field(30, 31)


class XS(Form):
    """Shift of a doubleword by a six-bit count."""

    RS, RA = Field(6, 10, "r{}"), Field(11, 15, "r{}")
    SH = SplitField(16, 20, high=30)
    XO, Rc = Field(21, 29), Field(31, 31)


class MsrL(Form):
    """An MSR, of which L = 1 says the two bits that are written."""

    RS, L = Field(6, 10, "r{}"), Field(15, 15)
    XO = Field(21, 30)


class ABC(Form):
    """Three registers and a bit of the condition register."""

    RT, RA, RB = Field(6, 10, "r{}"), Field(11, 15, "r{}"), Field(16, 20, "r{}")
    BC, XO = Field(21, 25), Field(26, 30)


class A(Form):
    """Floating point with three operands."""

    FRT, FRA = Field(6, 10, "f{}"), Field(11, 15, "f{}")
    FRB, FRC = Field(16, 20, "f{}"), Field(21, 25, "f{}")
    XO, Rc = Field(26, 30), Field(31, 31)
