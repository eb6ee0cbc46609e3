"""Special-purpose registers of 64-bit parts, as a guest of a hypervisor finds them.

Those of the hypervisor are privileged in supervisor state, too.  Sources: Power ISA 2.03 Book III-S
3.5, 2.07 appendix G; QEMU 7.2 for what a 970MP answers there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, low
from gossamer.isa.interrupts import SRR1_PRIVILEGED, Interrupt
from gossamer.isa.spec import timebase
from gossamer.isa.spec.spr_row import Spr, plain, reader
from gossamer.isa.spec.wide import transactions

#: The performance monitor: first number of those that user programs read, and of the others.
USER_MONITOR: Final = 768
MONITOR: Final = 784
#: Which of the sixteen a part has.
MONITORS: Final = {"970": range(2, 15), "2.07": (*range(9), *range(11, 15))}
#: DABR, DABRX, and where the last ones are kept.
HYPERVISORS: Final = {
    1013: ("dabr", 0),
    1015: ("dabrx", 0),
}
#: HTABORG and HTABSIZE.
SDR1: Final = 0x0FFF_FFFF_FFFC_001F
#: Registers of Power ISA 2.07 that keep what is written: number, name, register, element.
PLAIN_2_07: Final = (
    *((13, "UAMR", "amr", 0), (17, "DSCR", "dscr", 0)),
    *((28, "CFAR", "cfar", 0), (29, "AMR", "amr", 0), (61, "IAMR", "iamr", 0)),
    *((153, "FSCR", "fscr", 0), (157, "UAMOR", "uamor", 0), (159, "PSPB", "pspb", 0)),
    (896, "PPR", "ppr", 0),
)


def refused(s: Body) -> Expr:
    s.interrupt(Interrupt.PROGRAM, srr1=SRR1_PRIVILEGED)
    return s.word(0)


def refuse(s: Body, value: Expr) -> None:
    refused(s)


def write_ctrl(s: Body, value: Expr) -> None:
    s.ctrl = low(value)


def time(s: Body) -> Expr:
    """A clock that runs while the CPU does: the time base, as QEMU has it."""
    return timebase.timebase(s)


def monitor() -> Iterator[Spr]:
    for part, numbers in MONITORS.items():
        for n in numbers:
            user = reader("monitor", n)
            yield Spr(f"UPM{n}", USER_MONITOR + n, user, None, (part,), width=64)
            yield plain(f"PM{n}", MONITOR + n, "monitor", n, features=(part,), width=64)


SPRS: Final = (
    Spr("CTRL", 136, reader("ctrl"), None, width=64),
    Spr("CTRL", 152, None, write_ctrl, state=("ctrl", 0), width=64),
    Spr("USPRG3", 259, reader("sprg", 3), None, width=64),
    Spr("TBL_64", 284, lambda s: timebase.timebase(s), timebase.write_tbl, width=64),
    Spr("TBU_64", 285, lambda s: low(timebase.timebase(s) >> 32), timebase.write_tbu, width=64),
    plain("SDR1_64", 25, "sdr1", mask=SDR1, width=64),  # storage: the table is the hypervisor's
    Spr("LPCR", 318, refused, refuse, ("2.06",), ("lpcr", 0), width=64),
    *(
        Spr(f"HV{number}", number, refused, refuse, state=state, width=64)
        for number, state in HYPERVISORS.items()
    ),
    *monitor(),
    Spr("DEC_LEVEL", 22, None, timebase.write_level_decrementer, ("2.07",), width=64),
    *(
        plain(name, number, register, element, features=("2.07",), width=64)
        for number, name, register, element in PLAIN_2_07
    ),
    *transactions.SPRS,
    Spr("PURR", 309, time, None, ("2.05",), width=64),
    Spr("SPURR", 308, time, None, ("2.05",), width=64),
    Spr("VTB", 849, time, None, ("2.07",), width=64),
    plain("HID0", 1008, "hid0", features=("970",), width=64),
    plain("HID1", 1009, "hid1", features=("970",), width=64),
    plain("HID4", 1012, "hid4", features=("970",), width=64),
    plain("HID5", 1014, "hid5", features=("970",), width=64),
    Spr("PIR_970", 1023, reader("pir"), None, ("970",), width=64),
)
