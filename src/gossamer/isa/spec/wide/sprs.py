"""Special-purpose registers of 64-bit parts, as a guest of a hypervisor finds them.

Those of the hypervisor are privileged in supervisor state, too.  Sources: Power ISA 2.03 Book III-S
3.5, 2.07 appendix G; QEMU 7.2 for what a 970MP answers there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.isa.body import SRR1_PRIVILEGED, Body, Interrupt
from gossamer.isa.expr import Expr, low
from gossamer.isa.spec import timebase
from gossamer.isa.spec.spr_row import Spr, plain, reader

#: The performance monitor: first number of those that user programs read, and of the others.
USER_MONITOR: Final = 768
MONITOR: Final = 784
#: SDR1, DABR.
HYPERVISORS: Final = (25, 1013)


def refused(s: Body) -> Expr:
    s.interrupt(Interrupt.PROGRAM, srr1=SRR1_PRIVILEGED)
    return s.word(0)


def refuse(s: Body, value: Expr) -> None:
    refused(s)


def write_ctrl(s: Body, value: Expr) -> None:
    s.ctrl = low(value)


def monitor() -> Iterator[Spr]:
    for n in range(2, 15):
        yield Spr(f"UPM{n}", USER_MONITOR + n, reader("monitor", n), None, width=64)
        yield plain(f"PM{n}", MONITOR + n, "monitor", n, width=64)


SPRS: Final = (
    Spr("CTRL", 136, reader("ctrl"), None, width=64),
    Spr("CTRL", 152, None, write_ctrl, state=("ctrl", 0), width=64),
    Spr("USPRG3", 259, reader("sprg", 3), None, width=64),
    Spr("TBL_64", 284, lambda s: timebase.timebase(s), refuse, width=64),
    Spr("TBU_64", 285, lambda s: low(timebase.timebase(s) >> 32), refuse, width=64),
    *(Spr(f"HV{number}", number, refused, refuse, width=64) for number in HYPERVISORS),
    *monitor(),
    plain("HID0", 1008, "hid0", features=("970",), width=64),
    plain("HID1", 1009, "hid1", features=("970",), width=64),
    plain("HID4", 1012, "hid4", features=("970",), width=64),
    plain("HID5", 1014, "hid5", features=("970",), width=64),
    Spr("PIR", 1023, reader("pir"), None, ("970",), width=64),
)
