"""Special-purpose registers: one table, one instruction a register and direction.

Sources: MPC750UM 2.1; MPC7400UM 2.1 for the rows of that model.  An undefined number (or
direction) is a program interrupt in user mode: privileged when the number's bit 0x10 is set,
otherwise illegal.  In supervisor mode the books allow anything; as in QEMU it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, eq, gtu, ltu, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec import timebase
from gossamer.isa.spec.forms import XFX

Read = Callable[[Body], Expr]
WriteTo = Callable[[Body, Expr], None]


@dataclass(frozen=True, slots=True)
class Spr:
    """A special-purpose register; a number with bit 0x10 set is supervisor's."""

    name: str
    number: int
    read: Read | None
    write: WriteTo | None
    features: tuple[str, ...] = ()

    @property
    def supervisor(self) -> bool:
        return bool(self.number & 0x10)


def plain(
    name: str,
    number: int,
    register: str,
    element: int = 0,
    *,
    mask: int = -1,
    effect: str = "",
    features: tuple[str, ...] = (),
) -> Spr:
    """A register that keeps what is written to it, or the bits of `mask`."""
    write = writer(register, element, mask, effect)
    return Spr(name, number, reader(register, element), write, features)


def reader(register: str, element: int = 0) -> Read:
    def read(_: Body) -> Expr:
        return Expr("reg", 32, (const(element, 32),), register)

    return read


def writer(register: str, element: int = 0, mask: int = -1, effect: str = "") -> WriteTo:
    def write(s: Body, value: Expr) -> None:
        s.write(register, const(element, 32), value if mask == -1 else value & mask)
        if effect:
            s.effect(effect)

    return write


# --- registers that are more than storage ---------------------------------------------------------

XER_REST: Final = 0x0000_FF7F  # byte compared (POWER) and byte count


def read_xer(s: Body) -> Expr:
    return zext(s.so, 32) << 31 | zext(s.ov, 32) << 30 | zext(s.ca, 32) << 29 | s.xer


def write_xer(s: Body, value: Expr) -> None:
    for n, register in enumerate(("so", "ov", "ca")):
        s.write(register, const(0, 32), zext(trunc(value >> (31 - n), 1), 8))
    s.xer = value & XER_REST


HID0_INVALIDATE: Final = bit(20) | bit(21)  # ICFI and DCFI read as zero
L2CR_L2I: Final = bit(10)
L2CR_L2IP: Final = bit(31)  # invalidation in progress: over at once

THRM_TIN: Final = bit(0)
THRM_TIV: Final = bit(1)
THRM_TID: Final = bit(29)
THRM_V: Final = bit(31)
THRM3_E: Final = bit(31)
JUNCTION: Final = 24  # degrees Celsius of the part, always


def compare_temperature(value: Expr, enabled: Expr) -> Expr:
    """THRM1 or THRM2 with TIN and TIV as the comparison leaves them (MPC750UM 10.3.1)."""
    threshold = value >> 23 & 0x7F
    below = trunc(value >> 2, 1)  # TID: report a temperature below the threshold
    reached = select(below, gtu(threshold, JUNCTION), ltu(threshold, JUNCTION))
    running = enabled & trunc(value, 1)
    idle = value & ~(THRM_TIN | THRM_TIV)
    done = idle | THRM_TIV | zext(reached, 32) << 31
    return select(running, done, idle)


def write_thrm(element: int) -> WriteTo:
    def write(s: Body, value: Expr) -> None:
        s.thrm[element] = compare_temperature(value, trunc(s.thrm[2], 1))

    return write


def write_thrm3(s: Body, value: Expr) -> None:
    s.thrm[2] = value
    enabled = trunc(value, 1)
    for n in (0, 1):
        s.thrm[n] = select(enabled, compare_temperature(s.thrm[n], enabled), s.thrm[n])


def bats(name: str, first: int, register: str) -> Iterator[Spr]:
    for n in range(8):
        half = "UL"[n & 1]
        yield plain(f"{name}{n // 2}{half}", first + n, register, n, effect="translation")


def timebase_half(upper: bool) -> Read:
    return lambda s: trunc(timebase.timebase(s) >> (32 if upper else 0), 32)


V = ("7400",)

SPRS: Final[tuple[Spr, ...]] = (
    # Book I and II
    Spr("XER", 1, read_xer, write_xer),
    plain("LR", 8, "lr"),
    plain("CTR", 9, "ctr"),
    Spr("TBL", 268, timebase_half(False), None),
    Spr("TBU", 269, timebase_half(True), None),
    # Book III
    plain("DSISR", 18, "dsisr"),
    plain("DAR", 19, "dar"),
    Spr("DEC", 22, timebase.decrementer, timebase.write_decrementer),
    plain("SDR1", 25, "sdr1", effect="translation"),
    plain("SRR0", 26, "srr0"),
    plain("SRR1", 27, "srr1"),
    plain("SPRG0", 272, "sprg", 0),
    plain("SPRG1", 273, "sprg", 1),
    plain("SPRG2", 274, "sprg", 2),
    plain("SPRG3", 275, "sprg", 3),
    plain("EAR", 282, "ear", mask=bit(0) | 0x3F),
    Spr("TBL", 284, None, timebase.write_tbl),
    Spr("TBU", 285, None, timebase.write_tbu),
    Spr("PVR", 287, reader("pvr"), None),
    *bats("IBAT", 528, "ibat"),
    *bats("DBAT", 536, "dbat"),
    # MPC750
    Spr("UMMCR0", 936, reader("mmcr", 0), None),
    Spr("UPMC1", 937, reader("pmc", 0), None),
    Spr("UPMC2", 938, reader("pmc", 1), None),
    Spr("USIA", 939, reader("sia"), None),
    Spr("UMMCR1", 940, reader("mmcr", 1), None),
    Spr("UPMC3", 941, reader("pmc", 2), None),
    Spr("UPMC4", 942, reader("pmc", 3), None),
    plain("MMCR0", 952, "mmcr", 0),
    plain("PMC1", 953, "pmc", 0),
    plain("PMC2", 954, "pmc", 1),
    plain("SIA", 955, "sia"),
    plain("MMCR1", 956, "mmcr", 1),
    plain("PMC3", 957, "pmc", 2),
    plain("PMC4", 958, "pmc", 3),
    plain("HID0", 1008, "hid0", mask=~HID0_INVALIDATE, effect="translation"),
    Spr("HID1", 1009, reader("hid1"), lambda s, value: None),
    plain("IABR", 1010, "iabr", effect="breakpoint"),
    plain("DABR", 1013, "dabr", effect="breakpoint"),
    plain("L2CR", 1017, "l2cr", mask=~(L2CR_L2I | L2CR_L2IP)),
    plain("ICTC", 1019, "ictc"),
    Spr("THRM1", 1020, reader("thrm", 0), write_thrm(0)),
    Spr("THRM2", 1021, reader("thrm", 1), write_thrm(1)),
    Spr("THRM3", 1022, reader("thrm", 2), write_thrm3),
    # MPC7400
    plain("VRSAVE", 256, "vrsave", features=V),
    Spr("UMMCR2", 928, reader("mmcr", 2), None, V),
    Spr("UBAMR", 935, reader("bamr"), None, V),
    plain("MMCR2", 944, "mmcr", 2, features=V),
    plain("BAMR", 951, "bamr", features=V),
    plain("MSSCR0", 1014, "msscr", 0, features=V),
    plain("MSSCR1", 1015, "msscr", 1, features=V),
    plain("PIR", 1023, "pir", features=V),
)


# --- the instructions -----------------------------------------------------------------------------

MFSPR: Final = 339
MTSPR: Final = 467
MFTB: Final = 371


def define_read(spr: Spr, read: Read) -> None:
    @insn(
        XFX,
        "mfspr RT,SPR",
        name=f"mfspr_{spr.name.lower()}",
        supervisor=spr.supervisor,
        features=spr.features,
        OPCD=31,
        XO=MFSPR,
        SPRL=spr.number & 31,
        SPRH=spr.number >> 5,
    )
    def mfspr(s: Body, i: XFX) -> None:
        s.gpr[i.RT] = read(s)


def define_write(spr: Spr, write: WriteTo) -> None:
    @insn(
        XFX,
        "mtspr SPR,RS",
        name=f"mtspr_{spr.name.lower()}",
        supervisor=spr.supervisor,
        features=spr.features,
        OPCD=31,
        XO=MTSPR,
        SPRL=spr.number & 31,
        SPRH=spr.number >> 5,
    )
    def mtspr(s: Body, i: XFX) -> None:
        write(s, s.gpr[i.RS])


for _spr in SPRS:
    if _spr.read:
        define_read(_spr, _spr.read)
    if _spr.write:
        define_write(_spr, _spr.write)


def undefined(s: Body, i: XFX) -> None:
    """Supervisor: nothing happens, except for the POWER registers 0, 4, 5 and 6."""
    high = eq(i.SPRL & 0x10, 0x10)
    s.privileged(high)
    number = zext(i.SPRH, 32) << 5 | zext(i.SPRL, 32)
    power = eq(number, 0) | eq(number, 4) | eq(number, 5) | eq(number, 6)
    user = trunc(s.msr >> 14, 1)
    s.illegal(user | power)


@insn(XFX, "mfspr RT,SPR", name="mfspr_undefined", OPCD=31, XO=MFSPR)
def mfspr_undefined(s: Body, i: XFX) -> None:
    undefined(s, i)


@insn(XFX, "mtspr SPR,RS", name="mtspr_undefined", OPCD=31, XO=MTSPR)
def mtspr_undefined(s: Body, i: XFX) -> None:
    undefined(s, i)


@insn(XFX, "mftb RT,SPR", name="mftb", OPCD=31, XO=MFTB, SPRL=268 & 31, SPRH=268 >> 5)
def mftb(s: Body, i: XFX) -> None:
    s.gpr[i.RT] = trunc(timebase.timebase(s), 32)


@insn(XFX, "mftb RT,SPR", name="mftbu", OPCD=31, XO=MFTB, SPRL=269 & 31, SPRH=269 >> 5)
def mftbu(s: Body, i: XFX) -> None:
    s.gpr[i.RT] = trunc(timebase.timebase(s) >> 32, 32)


@insn(XFX, "mftb RT,SPR", name="mftb_undefined", OPCD=31, XO=MFTB)
def mftb_undefined(s: Body, _: XFX) -> None:
    s.illegal()
