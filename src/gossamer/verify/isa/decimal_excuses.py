"""What QEMU 7.2 does differently in decimal floating point and its neighbours, and why."""

from __future__ import annotations

from typing import Final

from gossamer.isa import fpscr
from gossamer.isa.decimal.formats import EXTENDED, LONG, Decimal, decode
from gossamer.isa.spec.table import TABLE
from gossamer.isa.spec.wide.decimal_forms import DecimalForm
from gossamer.verify.isa.excuses import (
    ALL,
    CR1_FX,
    MET,
    OUTCOME,
    Excuse,
    always,
    field_of,
)
from gossamer.verify.isa.record import ACCESS, FLOATING, Record
from gossamer.verify.isa.wide import TBEGIN

NAMES: Final = tuple(sorted(row.name for row in TABLE if issubclass(row.form, DecimalForm)))
QEMU: Final = ("qemu",)


def takes_none(_: Record, ours: Record, theirs: Record) -> bool:
    return ours.signal == FLOATING and not theirs.signal


def met_again(before: Record, ours: Record, _: Record) -> bool:
    """No exception is new, and FX was clear."""
    return not (ours.fpscr & ~before.fpscr & MET or before.fpscr & fpscr.FX)


NAN: Final = 0x7C << 56
LEAST: Final = 1 << 63
#: CR1's copies of FEX, and of all.
CR1_FEX: Final = 0x0400_0000
CR1: Final = 0x0F00_0000
UNSEEN: Final = fpscr.FPRF | fpscr.VXSNAN | fpscr.VX | fpscr.FX
PAYLOAD: Final = {"drsp": 6, "drdpq": 15}


def _target(before: Record) -> int:
    return field_of(before.word, 6, 10)


def no_bcd(before: Record, ours: Record, theirs: Record) -> bool:
    """Both found it, and the peer wrote nothing."""
    t = _target(before)
    return ours.fpr[t] == NAN and theirs.fpr[t] == before.fpr[t]


def a_ten(before: Record, ours: Record, theirs: Record) -> bool:
    """A digit was ten, and the peer went on."""
    t = _target(before)
    return ours.fpr[t] == NAN and theirs.fpr[t] != before.fpr[t]


def summarizes_itself(before: Record, ours: Record, theirs: Record) -> bool:
    return bool(before.fpscr & 7) and not ours.fpscr & fpscr.FEX


def is_least(before: Record, ours: Record, theirs: Record) -> bool:
    """Both have the least integer, and no conversion that failed gave it here."""
    t = _target(before)
    return ours.fpr[t] == theirs.fpr[t] == LEAST and not _operand(before).special


def _operand(before: Record) -> Decimal:
    """FRB, or the pair of that name."""
    b = field_of(before.word, 16, 20)
    if before.word >> 26 == 59:
        return decode(before.fpr[b], LONG)
    return decode(before.fpr[b] << 64 | before.fpr[b + 1], EXTENDED)


def long_payload(before: Record, *_: Record) -> bool:
    d = _operand(before)
    return d.nan and d.digits > PAYLOAD["drsp" if before.word >> 26 == 59 else "drdpq"]


def other_half(before: Record, ours: Record, theirs: Record) -> bool:
    """The peer's result is ours, in the other register of the pair."""
    t = _target(before)
    mine, yours = ours.fpr[t : t + 2], theirs.fpr[t : t + 2]
    return mine == yours[::-1] and not yours[0]


def no_number(before: Record, ours: Record, _: Record) -> bool:
    return ours.fpr[_target(before)] == NAN


def never_stores(_: Record, ours: Record, theirs: Record) -> bool:
    return bool(ours.cr & 0x2000_0000) and not theirs.cr & 0x2000_0000


def both_fault(_: Record, ours: Record, theirs: Record) -> bool:
    return ours.signal == theirs.signal == ACCESS


def after_tbegin(before: Record, *_: Record) -> bool:
    return before.prefix == TBEGIN


#: Those of decimal floating point first, then of what else a POWER8 has.
DECIMAL_EXCUSES: Final = (
    Excuse(
        NAMES,
        OUTCOME,
        "an enabled exception is met; the peer takes none",
        "the program interrupt, with what was adjusted or kept for it",
        "Power ISA 2.07 Book I 5.5.10",
        takes_none,
        QEMU,
    ),
    Excuse(
        NAMES,
        {"fpscr": fpscr.FR | fpscr.FI},
        "FPSCR[FR, FI]: the peer never sets the one nor clears the other",
        "whether this result was rounded, and up",
        "Power ISA 2.07 Book I 5.2.2",
        always,
        QEMU,
    ),
    Excuse(
        NAMES,
        {"fpscr": fpscr.FX, "cr": CR1_FX},
        "an exception is met again whose bit was set; the peer sets FX",
        "FX says that a bit has changed from 0 to 1",
        "Power ISA 2.07 Book I 4.2.2, FX",
        met_again,
        QEMU,
    ),
    Excuse(
        ("denbcd",),
        {"FRT": ALL, "fpscr": fpscr.FPRF},
        "no packed decimal number; the peer writes nothing",
        "FRT is a quiet NaN, FPRF its class",
        "Power ISA 2.07 Book I 5.5.10.1",
        no_bcd,
        QEMU,
    ),
    Excuse(
        ("denbcdq",),
        {"FRT": ALL, "FRT1": ALL, "fpscr": fpscr.FPRF},
        "no packed decimal number; the peer writes nothing",
        "FRT is a quiet NaN, FPRF its class",
        "Power ISA 2.07 Book I 5.5.10.1",
        no_bcd,
        QEMU,
    ),
    Excuse(
        ("denbcd", "denbcdq"),
        OUTCOME,
        "a digit is 10; the peer takes it",
        "no digit above 9 is one: VXCVI",
        "Power ISA 2.07 Book I 5.6.5",
        a_ten,
        QEMU,
    ),
    Excuse(
        ("denbcd", "denbcdq", "drrnd", "drrndq"),
        {"fpscr": fpscr.FEX, "cr": CR1_FEX},
        "FPSCR[RN] or [NI] is not zero; the peer takes that for an enable",
        "FEX summarizes exceptions and their enables",
        "Power ISA 2.07 Book I 4.2.2, FEX",
        summarizes_itself,
        QEMU,
    ),
    Excuse(
        ("dctfix", "dctfixq"),
        {"fpscr": ALL, "cr": CR1},
        "the result is -2**63; the peer takes that for too small",
        "it is an integer of 64 bits",
        "Power ISA 2.07 Book I 5.6.5, dctfix",
        is_least,
        QEMU,
    ),
    Excuse(
        ("drsp",),
        {"FRT": ALL, "fpscr": fpscr.FPRF},
        "a NaN of more than 6 digits; the peer drops all, and quiets it",
        "the last digits stay, and a signaling NaN does",
        "Power ISA 2.07 Book I 5.6.5",
        long_payload,
        QEMU,
    ),
    Excuse(
        ("drdpq",),
        {"FRT": ALL, "FRT1": ALL, "fpscr": UNSEEN, "cr": CR1},
        "a NaN of more than 15 digits; the peer drops all, and does not see a signaling one",
        "the last digits stay; VXSNAN",
        "Power ISA 2.07 Book I 5.6.5",
        long_payload,
        QEMU,
    ),
    Excuse(
        ("drdpq",),
        {"FRT": ALL, "FRT1": ALL},
        "the peer has the result in the second register of the pair",
        "it is in the first, as compilers use it",
        "Power ISA 2.07 Book I 5.6.5, drdpq",
        other_half,
        QEMU,
    ),
    Excuse(
        ("drrnd", "drrndq"),
        {"FRT": LEAST},
        "the exponent is too large; the peer's NaN has the operand's sign",
        "a NaN that an operation makes is positive",
        "Power ISA 2.07 Book I 5.5.3",
        no_number,
        QEMU,
    ),
    Excuse(
        ("stqcx.",),
        {"memory": ALL, "cr": 0x2000_0000},
        "the reservation is held; the peer never stores",
        "the quadword is stored",
        "Power ISA 2.07 Book II 4.4.2",
        never_stores,
        QEMU,
    ),
    Excuse(
        ("stq",),
        {"memory": ALL},
        "the second doubleword faults; the peer has stored the first",
        "nothing is stored",
        "Power ISA 2.07 Book III-S 6.5.3",
        both_fault,
        QEMU,
    ),
    Excuse(
        ("mfspr_tfiar", "mfspr_texasr"),
        {"RT": 1 << 29 | 2},
        "after a tbegin.: programs of the peer are in hypervisor state",
        "the state is the program's",
        "Power ISA 2.07 Book II 5.1",
        after_tbegin,
        QEMU,
    ),
)
