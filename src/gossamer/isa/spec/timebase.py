"""The timebase and decrementer, computed from virtual time.  Source: ARCHITECTURE 4; MPC750UM 2.1.

Ticks since virtual time 0: floor(now * f / 10**9).  TB = ticks + tb_offset.
DEC = (dec_zero - ticks) mod 2**32.
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, low, trunc, udiv, zext
from gossamer.isa.interrupts import Irq

NS = 10**9


def ticks(s: Body) -> Expr:
    """Ticks since virtual time 0, 64 bits, without overflow in between (tb_hz below 2**34)."""
    second = const(NS, 64)
    whole = udiv(s.now, second)
    rest = s.now - whole * second
    return whole * s.tb_hz + udiv(rest * s.tb_hz, second)


def timebase(s: Body) -> Expr:
    """TBU || TBL, 64 bits."""
    return ticks(s) + s.tb_offset


def decrementer(s: Body) -> Expr:
    """DEC, 32 bits."""
    return low(s.dec_zero - ticks(s))


def write_decrementer(s: Body, value: Expr) -> None:
    """Mtdec; raising bit 0 by hand makes the exception pending as counting does."""
    now = ticks(s)
    old = low(s.dec_zero - now)
    value = low(value)
    s.dec_zero = now + zext(value, 64)
    raised = trunc((~old & value) >> 31, 1)
    s.write("irq", Irq.DECREMENTER, const(1, 8), raised)
    s.effect("timer")


def write_level_decrementer(s: Body, value: Expr) -> None:
    """Mtdec where the interrupt is there as long as DEC is negative (Power ISA 2.07)."""
    value = low(value)
    s.dec_zero = ticks(s) + zext(value, 64)
    s.write("irq", Irq.DECREMENTER, trunc(value >> 31, 8))
    s.effect("timer")


def write_timebase(s: Body, value: Expr) -> None:
    s.tb_offset = value - ticks(s)
    s.effect("timer")


def write_tbl(s: Body, value: Expr) -> None:
    old = timebase(s)
    write_timebase(s, (old >> 32) << 32 | zext(low(value), 64))


def write_tbu(s: Body, value: Expr) -> None:
    old = timebase(s)
    write_timebase(s, zext(low(value), 64) << 32 | zext(low(old), 64))
