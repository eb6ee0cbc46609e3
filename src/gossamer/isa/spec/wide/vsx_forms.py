"""The VSX instruction forms: registers have six bits.  Source: Power ISA 2.07 Book I 1.6."""

from __future__ import annotations

from gossamer.isa.form import Field, Form, SplitField
from gossamer.isa.spec.forms import X


class XX1(X):
    """A vector-scalar register and a storage operand or a general register."""

    XT, XS = SplitField(6, 10, "vs{}", high=31), SplitField(6, 10, "vs{}", high=31)


class XX2(Form):
    """One operand, and an element number."""

    XT, XB = SplitField(6, 10, "vs{}", high=31), SplitField(16, 20, "vs{}", high=30)
    UIM = Field(14, 15)
    XO = Field(21, 29)


class XX3(Form):
    """Two operands; some have two bits that choose parts of them."""

    XT = SplitField(6, 10, "vs{}", high=31)
    XA, XB = SplitField(11, 15, "vs{}", high=29), SplitField(16, 20, "vs{}", high=30)
    XO = Field(21, 28)
    ZERO, DM, SHW, SHORT = Field(21, 21), Field(22, 23), Field(22, 23), Field(24, 28)


class XX3Rc(Form):
    """Comparisons of two operands; the sum of them can go to CR6."""

    XT = SplitField(6, 10, "vs{}", high=31)
    XA, XB = SplitField(11, 15, "vs{}", high=29), SplitField(16, 20, "vs{}", high=30)
    Rc, XO = Field(21, 21), Field(22, 28)


class XX3Field(Form):
    """Two operands and a field of CR."""

    BF = Field(6, 8, "cr{}")
    XA, XB = SplitField(11, 15, "vs{}", high=29), SplitField(16, 20, "vs{}", high=30)
    XO = Field(21, 28)


class XX2Field(Form):
    """One operand and a field of CR."""

    BF = Field(6, 8, "cr{}")
    XB = SplitField(16, 20, "vs{}", high=30)
    XO = Field(21, 29)


class XX4(Form):
    """Three operands."""

    XT = SplitField(6, 10, "vs{}", high=31)
    XA, XB = SplitField(11, 15, "vs{}", high=29), SplitField(16, 20, "vs{}", high=30)
    XC = SplitField(21, 25, "vs{}", high=28)
    XO = Field(26, 27)
