"""The alignment interrupt and what it leaves in DSISR.  Source: MPC750UM 4.5.6."""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, ne
from gossamer.isa.form import Form
from gossamer.isa.interrupts import Interrupt
from gossamer.isa.spec.forms import D


def dsisr(i: Form) -> Expr:
    """DSISR for an access by instruction `i`: enough of it to emulate the access in software.

    Bits 15..16 are instruction bits 29..30 (X-form), 17 is 25 (D-form: 5), 18..21 are 21..24
    (D-form: 1..4), 22..31 are 6..15.
    """
    word = i.word
    registers = word >> 16 & 0x3FF
    if isinstance(i, D):
        return registers | (word >> 26 & 1) << 14 | (word >> 27 & 15) << 10
    return registers | (word >> 1 & 3) << 15 | (word >> 6 & 1) << 14 | (word >> 7 & 15) << 10


def check_multiple(s: Body, i: Form, ea: Expr) -> None:
    """Alignment interrupt as 32-bit parts take it; 64-bit parts carry such accesses out."""
    if s.width == 32:
        check_aligned(s, i, ea)


def refuse_little(s: Body, i: Form, ea: Expr) -> None:
    """Alignment interrupt in little-endian mode (Power ISA 2.07 Book III-S 6.5.8)."""
    s.interrupt(Interrupt.ALIGNMENT, s.le, dar=ea, dsisr=dsisr(i))


def check_aligned(s: Body, i: Form, ea: Expr, when: Expr | None = None, size: int = 4) -> None:
    """Alignment interrupt unless `ea` is a multiple of `size` (and `when`)."""
    odd = ne(ea & (size - 1), 0)
    s.interrupt(Interrupt.ALIGNMENT, odd if when is None else odd & when, dar=ea, dsisr=dsisr(i))
