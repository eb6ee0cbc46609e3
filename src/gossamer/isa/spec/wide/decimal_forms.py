"""Forms of decimal floating point; a pair of registers is named by its even one.

Source: Power ISA 2.07 Book I 1.6, 5.6.
"""

from __future__ import annotations

from gossamer.isa.form import Field, Form


class DecimalForm(Form):
    """Registers and pairs of them; the last bit of a pair's number is zero.

    X-form, Z22-form and Z23-form in one: which fields an instruction has its template says.
    """

    FRT, FRA, FRB = Field(6, 10, "f{}"), Field(11, 15, "f{}"), Field(16, 20, "f{}")
    FRTP, FRAP, FRBP = (
        Field(6, 9, "f{}", shift=1),
        Field(11, 14, "f{}", shift=1),
        Field(16, 19, "f{}", shift=1),
    )
    TODD, AODD, BODD = Field(10, 10), Field(15, 15), Field(20, 20)
    BF = Field(6, 8, "cr{}")
    TE = Field(11, 15, signed=True)
    SP, S, R = Field(11, 12), Field(11, 11), Field(15, 15)
    DCM, DGM, SH = Field(16, 21), Field(16, 21), Field(16, 21)
    RMC = Field(21, 22)
    XO = Field(21, 30)
    XO9 = Field(22, 30)  # Z22
    XO8 = Field(23, 30)  # Z23


class DecimalRc(DecimalForm):
    """The same with a record bit."""

    Rc = Field(31, 31)
