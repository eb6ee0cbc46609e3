"""The AltiVec instruction forms.  Source: AltiVec Technology PEM (ALTIVECPEM), appendix A."""

from __future__ import annotations

from gossamer.isa.form import Field, Form


class VX(Form):
    """Two vector operands, or one and an immediate, and an 11-bit extended opcode."""

    VRT, VRA, VRB = Field(6, 10, "v{}"), Field(11, 15, "v{}"), Field(16, 20, "v{}")
    UIM, SIM = Field(11, 15), Field(11, 15, signed=True)
    UIM4, UIM3, UIM2 = Field(12, 15), Field(13, 15), Field(14, 15)  # element numbers
    XO = Field(21, 31)


class VXSigma(Form):
    """One operand, which of two kinds, and which of two for each word."""

    VRT, VRA = Field(6, 10, "v{}"), Field(11, 15, "v{}")
    ST, SIX = Field(16, 16), Field(17, 20)
    XO = Field(21, 31)


class VC(Form):
    """A comparison; Rc sets CR field 6."""

    VRT, VRA, VRB = Field(6, 10, "v{}"), Field(11, 15, "v{}"), Field(16, 20, "v{}")
    Rc, XO = Field(21, 21), Field(22, 31)


class VA(Form):
    """Three vector operands, or two and a shift count."""

    VRT, VRA = Field(6, 10, "v{}"), Field(11, 15, "v{}")
    VRB, VRC = Field(16, 20, "v{}"), Field(21, 25, "v{}")
    SHB, XO = Field(22, 25), Field(26, 31)
