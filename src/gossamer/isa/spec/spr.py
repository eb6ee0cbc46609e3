"""Special-purpose registers: one table; `spr_moves` has an instruction a register and direction.

Sources: MPC750UM 2.1; for the rows of other parts their manuals (MPC603eUM, MPC604eUM, MPC7400UM,
MPC7450UM 2.1, the 750FX user manual).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, eq, gtu, low, ltu, select, trunc, zext
from gossamer.isa.spec import sprs_405, timebase
from gossamer.isa.spec.parts import (
    ALTIVEC,
    EIGHT_BATS,
    EMBEDDED,
    G4,
    MONITOR,
    SINCE_750,
    SOFTWARE_SEARCH,
    THERMAL,
)
from gossamer.isa.spec.spr_row import Read, Spr, WriteTo, plain, reader
from gossamer.isa.spec.wide import sprs as wide

# --- registers that are more than storage ---------------------------------------------------------

XER_REST: Final = 0x0000_FF7F  # byte compared (POWER) and byte count


def read_xer(s: Body) -> Expr:
    so, ov, ca = (zext(flag, s.xer.width) for flag in (s.so, s.ov, s.ca))
    return so << 31 | ov << 30 | ca << 29 | s.xer


def write_xer(s: Body, value: Expr) -> None:
    write_xer_rest(s, value, XER_REST)


def write_xer_rest(s: Body, value: Expr, rest: int) -> None:
    """XER with the bits of `rest` beside SO, OV and CA."""
    for n, register in enumerate(("so", "ov", "ca")):
        s.write(register, 0, zext(trunc(value >> (31 - n), 1), 8))
    s.xer = low(value) & rest


HID0_INVALIDATE: Final = bit(20) | bit(21)  # ICFI and DCFI read as zero
L2CR_L2I: Final = bit(10)
L2CR_L2IP: Final = bit(31)  # invalidation in progress: over at once
L2CR_L2HWF: Final = bit(20)  # 7450: flush; over at once, as those of the other caches
L3CR_L3HWF: Final = bit(20)
L3CR_L3I: Final = bit(21)
MSSCR0_DL1HWF: Final = bit(8)
#: STEN (table search by software) and XAEN (36-bit real addresses) are not here: they read zero.
HID0_REFUSED_7450: Final = bit(7) | bit(14)
#: All but the clock multiplier PC0 to PC4, bits 15 to 19.
HID1_7450: Final = ~0x0001_F000
PIR_604E: Final = 0xF

#: 750FX HID1: what selects and configures the two PLLs, and which of them runs (PSTAT1).
HID1_PLLS: Final = 0x0003_FFFF
HID1_PS: Final = bit(15)
HID1_PSTAT1: Final = bit(7)


def hid0(mask: int, features: tuple[str, ...]) -> Spr:
    """HID0 without the bits that read as zero."""
    return plain("HID0", 1008, "hid0", mask=mask, effect="translation", features=features)


def hid1(mask: int, features: tuple[str, ...]) -> Spr:
    """HID1, of which the bits of `mask` can be written."""

    def write(s: Body, value: Expr) -> None:
        if mask:
            s.hid1 = s.hid1 & ~mask | value & mask

    return Spr("HID1", 1009, reader("hid1"), write, features, ("hid1", 0))


def write_hid1_750fx(s: Body, value: Expr) -> None:
    """The PLL that is selected runs at once."""
    running = select(eq(value & HID1_PS, 0), s.word(0), s.word(HID1_PSTAT1))
    s.hid1 = s.hid1 & ~(HID1_PLLS | HID1_PSTAT1) | value & HID1_PLLS | running


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
    done = idle | THRM_TIV | zext(reached, idle.width) << 31
    return select(running, done, idle)


def write_thrm(element: int) -> WriteTo:
    def write(s: Body, value: Expr) -> None:
        s.thrm[element] = compare_temperature(low(value), trunc(s.thrm[2], 1))

    return write


def write_thrm3(s: Body, value: Expr) -> None:
    s.thrm[2] = low(value)
    enabled = trunc(value, 1)
    for n in (0, 1):
        s.thrm[n] = select(enabled, compare_temperature(s.thrm[n], enabled), s.thrm[n])


def bats(
    name: str, first: int, register: str, start: int = 0, features: tuple[str, ...] = ()
) -> Iterator[Spr]:
    """Four pairs of BATs, from element `start` of the register file on."""
    for n in range(8):
        called = f"{name}{(start + n) // 2}{'UL'[n & 1]}"
        yield plain(
            called,
            first + n,
            register,
            start + n,
            effect="translation",
            features=features,
            width=32,  # no 64-bit part has any
            absent=EMBEDDED,
        )


SEARCHED: Final = ("DMISS", "DCMP", "HASH1", "HASH2", "IMISS", "ICMP")


def searched(number: int, name: str) -> Spr:
    register = name.lower()
    return Spr(name, number, reader(register), None, SOFTWARE_SEARCH, (register, 0), width=32)


def timebase_half(upper: bool) -> Read:
    """Half of the timebase; the lower one is as much of it as a word holds."""
    if upper:
        return lambda s: low(timebase.timebase(s) >> 32)
    return lambda s: trunc(timebase.timebase(s), s.width)


SPRS: Final[tuple[Spr, ...]] = (
    # Book I and II
    Spr("XER", 1, read_xer, write_xer, absent=EMBEDDED),
    plain("LR", 8, "lr"),
    plain("CTR", 9, "ctr"),
    Spr("TBL", 268, timebase_half(False), None),
    Spr("TBU", 269, timebase_half(True), None),
    # Book III
    plain("DSISR", 18, "dsisr", absent=EMBEDDED),
    plain("DAR", 19, "dar", absent=EMBEDDED),
    Spr("DEC", 22, timebase.decrementer, timebase.write_decrementer, absent=EMBEDDED),
    plain("SDR1", 25, "sdr1", effect="translation", absent=EMBEDDED, width=32),
    plain("SRR0", 26, "srr0"),
    plain("SRR1", 27, "srr1"),
    plain("SPRG0", 272, "sprg", 0),
    plain("SPRG1", 273, "sprg", 1),
    plain("SPRG2", 274, "sprg", 2),
    plain("SPRG3", 275, "sprg", 3),
    plain("EAR", 282, "ear", mask=bit(0) | 0x3F, absent=EMBEDDED, width=32),
    Spr("TBL", 284, None, timebase.write_tbl, absent=EMBEDDED, width=32),
    Spr("TBU", 285, None, timebase.write_tbu, absent=EMBEDDED, width=32),
    Spr("PVR", 287, reader("pvr"), None),
    *bats("IBAT", 528, "ibat"),
    *bats("DBAT", 536, "dbat"),
    # The implementation's, by the parts that have them
    *bats("IBAT", 560, "ibat", 8, EIGHT_BATS),
    *bats("DBAT", 568, "dbat", 8, EIGHT_BATS),
    Spr("UMMCR0", 936, reader("mmcr", 0), None, SINCE_750),
    Spr("UPMC1", 937, reader("pmc", 0), None, SINCE_750),
    Spr("UPMC2", 938, reader("pmc", 1), None, SINCE_750),
    Spr("USIA", 939, reader("sia"), None, SINCE_750),
    Spr("UMMCR1", 940, reader("mmcr", 1), None, SINCE_750),
    Spr("UPMC3", 941, reader("pmc", 2), None, SINCE_750),
    Spr("UPMC4", 942, reader("pmc", 3), None, SINCE_750),
    plain("MMCR0", 952, "mmcr", 0, features=MONITOR),
    plain("PMC1", 953, "pmc", 0, features=MONITOR),
    plain("PMC2", 954, "pmc", 1, features=MONITOR),
    plain("SIA", 955, "sia", features=MONITOR),
    plain("MMCR1", 956, "mmcr", 1, features=MONITOR),
    plain("PMC3", 957, "pmc", 2, features=MONITOR),
    plain("PMC4", 958, "pmc", 3, features=MONITOR),
    plain("SDA", 959, "sda", features=("604e",)),
    hid0(~HID0_INVALIDATE, ("604e", *THERMAL)),
    hid0(~(HID0_INVALIDATE | HID0_REFUSED_7450), ("7450",)),
    hid0(-1, ("603e",)),
    hid1(0, ("603e", "604e", "750", "7400")),
    hid1(HID1_7450, ("7450",)),
    Spr("HID1", 1009, reader("hid1"), write_hid1_750fx, ("750fx",), ("hid1", 0)),
    plain("IABR", 1010, "iabr", effect="breakpoint", absent=EMBEDDED, width=32),
    plain("DABR", 1013, "dabr", effect="breakpoint", features=MONITOR),
    plain("L2CR", 1017, "l2cr", mask=~(L2CR_L2I | L2CR_L2IP), features=THERMAL),
    plain("ICTC", 1019, "ictc", features=SINCE_750),
    Spr("THRM1", 1020, reader("thrm", 0), write_thrm(0), THERMAL, ("thrm", 0)),
    Spr("THRM2", 1021, reader("thrm", 1), write_thrm(1), THERMAL, ("thrm", 1)),
    Spr("THRM3", 1022, reader("thrm", 2), write_thrm3, THERMAL, ("thrm", 2)),
    plain("PIR", 1023, "pir", features=G4),
    plain("PIR", 1023, "pir", mask=PIR_604E, features=("604e",)),
    # Table search by software; all but RPA are the hardware's to write
    *(searched(n, name) for n, name in enumerate(SEARCHED, 976)),
    plain("RPA", 982, "rpa", features=SOFTWARE_SEARCH, width=32),
    # 750FX
    plain("THRM4", 920, "thrm", 3, features=("750fx",)),
    plain("HID2", 1016, "hid2", features=("750fx",)),
    # 7400 and 7450
    plain("VRSAVE", 256, "vrsave", features=ALTIVEC),
    Spr("UMMCR2", 928, reader("mmcr", 2), None, G4),
    Spr("UBAMR", 935, reader("bamr"), None, ("7400",)),
    plain("MMCR2", 944, "mmcr", 2, features=G4),
    plain("BAMR", 951, "bamr", features=G4),
    plain("MSSCR0", 1014, "msscr", 0, mask=~MSSCR0_DL1HWF, features=G4),
    plain("MSSCR1", 1015, "msscr", 1, features=("7400",)),
    # 7450
    *(Spr(f"USPRG{n}", 256 + n, reader("sprg", n), None, ("7450",)) for n in range(4, 8)),
    *(plain(f"SPRG{n}", 272 + n, "sprg", n, features=("7450",)) for n in range(4, 8)),
    Spr("UPMC5", 929, reader("pmc", 4), None, ("7450",)),
    Spr("UPMC6", 930, reader("pmc", 5), None, ("7450",)),
    plain("PMC5", 945, "pmc", 4, features=("7450",)),
    plain("PMC6", 946, "pmc", 5, features=("7450",)),
    plain("ICTRL", 1011, "ictrl", features=("7450",)),
    plain("MSSSR0", 1015, "msscr", 1, features=("7450",)),
    plain("LDSTCR", 1016, "ldstcr", features=("7450",)),
    plain("L2CR", 1017, "l2cr", mask=~(L2CR_L2I | L2CR_L2HWF), features=("7450",)),
    # 7455: the level-3 cache
    plain("L3PM", 983, "l3pm", features=("7455",)),
    plain("L3ITCR0", 984, "l3itcr0", features=("7455",)),
    plain("L3CR", 1018, "l3cr", mask=~(L3CR_L3HWF | L3CR_L3I), features=("7455",)),
    *sprs_405.sprs(read_xer, write_xer_rest),
    *wide.SPRS,
)
