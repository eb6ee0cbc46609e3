"""What an operation leaves: the target's bits, FPSCR, a CR field.

Source: Power ISA 2.07 Book I 5.5.10; the bits themselves in `isa.fpscr`.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.isa import fpscr
from gossamer.isa.decimal.formats import Decimal, Format, encode, result_class
from gossamer.isa.decimal.rounding import Mode, Rounded

#: FPSCR[DRN], as operations get it: above the 32 bits of FPSCR.
DRN_SHIFT: Final = 32


class Outcome(Data):
    """`writes`: the target gets `value`; `traps`: an enabled exception was met."""

    value: int
    status: int
    field: int = 0
    writes: bool = True
    traps: bool = False


def mode_of(status: int) -> Mode:
    """The rounding mode of FPSCR[DRN]."""
    return Mode(status >> DRN_SHIFT & 7)


def _summary(status: int) -> int:
    status &= ~(fpscr.FEX | fpscr.VX)
    if status & fpscr.INVALID:
        status |= fpscr.VX
    if status >> 25 & status >> 3 & 0x1F:
        status |= fpscr.FEX
    return status


def finish(
    status: int, value: int, events: int = 0, rounding: int = 0, fprf: int | None = None
) -> Outcome:
    """The end of an operation that sets FR and FI, and FPRF unless that is None.

    An enabled invalid operation or division by zero leaves the target and FPRF alone.
    """
    old = status & 0xFFFF_FFFF
    invalid = bool(events & fpscr.INVALID)
    stopped = (invalid and old & fpscr.VE) or (events & fpscr.ZX and old & fpscr.ZE)
    new = old & ~(fpscr.FR | fpscr.FI) | events | rounding
    if fprf is not None and not stopped:
        new = new & ~fpscr.FPRF | fprf << fpscr.FPRF_SHIFT
    new, traps = _raised(old, new, events)
    return Outcome(value, new, writes=not stopped, traps=traps)


def _raised(old: int, new: int, events: int) -> tuple[int, bool]:
    """FPSCR with FX and its summaries; whether something enabled was met."""
    if events & ~old:
        new |= fpscr.FX
    met = events >> 25 & 0xF | (0x10 if events & fpscr.INVALID else 0)
    return _summary(new), bool(met & new >> 3)


def rounded(status: int, r: Rounded, f: Format) -> Outcome:
    """The end of an operation with a rounded result."""
    return finish(status, encode(r.number, f), r.events, r.status, result_class(r.number, f))


def number(status: int, d: Decimal, f: Format, events: int = 0) -> Outcome:
    """The end of an operation whose result needs no rounding."""
    return finish(status, encode(d, f), events, 0, result_class(d, f))


def compared(status: int, field: int, events: int = 0) -> Outcome:
    """The end of a comparison or test: `field` goes to CR and FPCC."""
    old = status & 0xFFFF_FFFF
    new, traps = _raised(old, old & ~fpscr.FPCC | field << fpscr.FPRF_SHIFT | events, events)
    return Outcome(0, new, field, writes=False, traps=traps)


def moved(status: int, value: int) -> Outcome:
    """The end of an operation that leaves FPSCR alone."""
    return Outcome(value, status & 0xFFFF_FFFF)
