"""The 405's special-purpose registers.  Source: PPC405 core user's manual chapter 10, table A-2.

What its timers' registers do is in `timers_405`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, low, ne, trunc, zext
from gossamer.isa.interrupts import Irq405
from gossamer.isa.spec import timebase, timers_405
from gossamer.isa.spec.parts import EMBEDDED
from gossamer.isa.spec.spr_row import Spr, WriteTo, plain, reader
from gossamer.isa.spec.utlb import PID_BITS

#: XER beside SO, OV and CA: the byte count.
XER_REST: Final = 0x7F
EVPR_BITS: Final = 0xFFFF_0000
DBCR0_RST: Final = 0x3000_0000


class RealMode(IntEnum):
    """Elements of `real_mode`: what a bit for each 128 MiB says of storage in real mode."""

    GUARDED = 0
    WRITE_THROUGH = 1
    DATA_CACHED = 2
    CODE_CACHED = 3
    LITTLE = 4
    USER = 5


def write_dbsr(s: Body, value: Expr) -> None:
    """Ones clear."""
    s.dbsr = s.dbsr & ~value


def write_dbcr0(s: Body, value: Expr) -> None:
    """RST asks for a reset: of the core, the chip or the system."""
    kind = trunc(value >> 28, 2)
    s.write("dbcr", 0, value & ~DBCR0_RST)
    s.write("irq", Irq405.RESET, zext(kind, 8), ne(kind, 0))
    s.effect("timer")


def sprs(
    read_xer: Callable[[Body], Expr], write_xer: Callable[[Body, Expr, int], None]
) -> Iterator[Spr]:
    """The rows; XER's halves are those of every part, but for its other bits."""

    def one(name: str, number: int, register: str, element: int = 0, **kw: int | str) -> Spr:
        return plain(name, number, register, element, features=EMBEDDED, width=32, **kw)  # type: ignore[arg-type]

    def special(
        name: str,
        number: int,
        read: Callable[[Body], Expr] | None,
        write: WriteTo | None,
        state: tuple[str, int] | None = None,
    ) -> Spr:
        return Spr(name, number, read, write, EMBEDDED, state, 32)

    yield special("XER", 1, read_xer, lambda s, value: write_xer(s, value, XER_REST))
    yield one("USPRG0", 256, "usprg0")
    for n in range(4, 8):
        yield special(f"USPRG{n}", 256 + n, reader("sprg", n), None)
        yield one(f"SPRG{n}", 272 + n, "sprg", n)
    yield special("TBL284", 284, lambda s: low(timebase.timebase(s)), None)
    yield special("TBU285", 285, lambda s: low(timebase.timebase(s) >> 32), None)
    yield special("TBL", 284, None, timers_405.write_tbl)
    yield special("TBU", 285, None, timers_405.write_tbu)
    yield one("ZPR", 944, "zpr", effect="pid")
    yield one("PID", 945, "pid", mask=PID_BITS, effect="pid")
    yield one("CCR0", 947, "ccr0")
    yield one("IAC3", 948, "iac", 2)
    yield one("IAC4", 949, "iac", 3)
    yield one("DVC1", 950, "dvc", 0)
    yield one("DVC2", 951, "dvc", 1)
    for name, number, which in (
        ("SGR", 953, RealMode.GUARDED),
        ("DCWR", 954, RealMode.WRITE_THROUGH),
        ("SLER", 955, RealMode.LITTLE),
        ("SU0R", 956, RealMode.USER),
        ("DCCR", 1018, RealMode.DATA_CACHED),
        ("ICCR", 1019, RealMode.CODE_CACHED),
    ):
        yield one(name, number, "real_mode", which, effect="attributes")
    yield one("DBCR1", 957, "dbcr", 1)
    yield special("ICDBDR", 979, reader("icdbdr"), None, ("icdbdr", 0))
    yield one("ESR", 980, "esr")
    yield one("DEAR", 981, "dear")
    yield one("EVPR", 982, "evpr", mask=EVPR_BITS)
    yield special("TSR", 984, reader("tsr"), timers_405.write_tsr, ("tsr", 0))
    yield special("TCR", 986, reader("tcr"), timers_405.write_tcr, ("tcr", 0))
    yield special("PIT", 987, timers_405.read_pit, timers_405.write_pit)
    yield one("SRR2", 990, "srr2")
    yield one("SRR3", 991, "srr3")
    yield special("DBSR", 1008, reader("dbsr"), write_dbsr, ("dbsr", 0))
    yield special("DBCR0", 1010, reader("dbcr", 0), write_dbcr0, ("dbcr", 0))
    yield one("IAC1", 1012, "iac", 0)
    yield one("IAC2", 1013, "iac", 1)
    yield one("DAC1", 1014, "dac", 0)
    yield one("DAC2", 1015, "dac", 1)
