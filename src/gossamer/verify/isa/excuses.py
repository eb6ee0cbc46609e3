"""What a peer is allowed to do differently, and why.  docs/isa-deviations.md shows this table.

An excuse masks named bits of one register, or a whole outcome, of one family of instructions under
one condition.  Everything else of the vector is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gossamer.base.data import Data
from gossamer.isa import fpscr
from gossamer.isa.interrupts import Interrupt
from gossamer.verify.isa.record import FLOATING, ILLEGAL, MISALIGNED, STOPPED, Record

ALL: Final = (1 << 64) - 1
OUTCOME: Final = {"outcome": ALL}  # nothing of the vector is compared
MAGNITUDE: Final = (1 << 63) - 1
LEAST_NORMAL: Final = 897 << 52  # 2**-126
CR1_FX: Final = 0x0800_0000
MET: Final = fpscr.OX | fpscr.UX | fpscr.ZX | fpscr.XX | fpscr.INVALID
PEERS: Final = ("qemu", "unicorn")


class Excuse(Data):
    """`bits` says what is masked: by register of the record, or RT or FRT of the word."""

    family: tuple[str, ...]
    bits: dict[str, int]
    condition: str
    rule: str
    source: str
    holds: Callable[[Record, Record, Record], bool]  # before, ours, theirs
    peers: tuple[str, ...] = PEERS


def field_of(word: int, first: int, last: int) -> int:
    return word >> (31 - last) & (1 << last - first + 1) - 1


def _ra(r: Record) -> int:
    return r.gpr[field_of(r.word, 11, 15)]


def _rb(r: Record) -> int:
    return r.gpr[field_of(r.word, 16, 20)]


def no_quotient(before: Record, *_: Record) -> bool:
    minimum = before.word >> 1 & 0x1FF == 491 and _ra(before) == 1 << 31
    return _rb(before) == 0 or (minimum and _rb(before) == 0xFFFF_FFFF)


def records_overflow(before: Record, *_: Record) -> bool:
    """The instruction's OE is set."""
    return bool(before.word & 0x400)


def leaves_target(before: Record, _: Record, theirs: Record) -> bool:
    """RT is the same as before, and OE is not set."""
    n = field_of(before.word, 6, 10)
    return not records_overflow(before) and theirs.gpr[n] == before.gpr[n]


def always(*_: Record) -> bool:
    return True


def refused(ours: Record, theirs: Record) -> bool:
    """The peer took the instruction for illegal."""
    return ours.signal != ILLEGAL and theirs.signal in (ILLEGAL, STOPPED)


def both_stop(_: Record, ours: Record, theirs: Record) -> bool:
    return ours.signal == theirs.signal == STOPPED


def loads_its_base(before: Record, ours: Record, theirs: Record) -> bool:
    """RA = RT in a load with update."""
    w = before.word
    return field_of(w, 6, 10) == field_of(w, 11, 15) and refused(ours, theirs)


def string_over_base(before: Record, ours: Record, theirs: Record) -> bool:
    """RA or RB among the registers of a string load."""
    w = before.word
    immediate = w >> 1 & 0x3FF == 597
    count = (field_of(w, 16, 20) or 32) if immediate else before.xer & 0x7F
    first, ra, rb = (field_of(w, n, n + 4) for n in (6, 11, 16))
    loaded = {(first + k) % 32 for k in range((count + 3) // 4)}
    bases = {ra} if immediate else {ra, rb}
    return bool(loaded & bases) and refused(ours, theirs)


def no_base(before: Record, *_: Record) -> bool:
    return field_of(before.word, 11, 15) == 0


def below_single(before: Record, *_: Record) -> bool:
    exponent = before.fpr[field_of(before.word, 6, 10)] >> 52 & 0x7FF
    return exponent < 874


def directed(before: Record, *_: Record) -> bool:
    return before.fpscr & 3 >= 2


def directed_and_one_traps(before: Record, ours: Record, theirs: Record) -> bool:
    return directed(before) and (ours.signal == FLOATING) != (theirs.signal == FLOATING)


def no_room_for_a_sign(before: Record, *_: Record) -> bool:
    a, b = (n - (n >> 63 << 64) for n in (_ra(before), _rb(before)))
    if not abs(a) < abs(b):
        return False
    return (abs(a) << 64) // abs(b) > ALL >> 1


def writes_time(before: Record, *_: Record) -> bool:
    return field_of(before.word, 16, 20) == 8 and field_of(before.word, 11, 15) in (28, 29)


def non_ieee(before: Record, *_: Record) -> bool:
    return bool(before.fpscr & fpscr.NI)


def invalid(_: Record, ours: Record, theirs: Record) -> bool:
    return bool(ours.fpscr & fpscr.VX and theirs.fpscr & fpscr.VX)


def estimates(before: Record, ours: Record, theirs: Record) -> bool:
    """Both results are within 1/256 of each other: the exponents and leading bits nearly equal."""
    n = field_of(before.word, 6, 10)
    a, b = ours.fpr[n], theirs.fpr[n]
    overflow = ours.fpscr & theirs.fpscr & fpscr.OX
    tiny = max(a & MAGNITUDE, b & MAGNITUDE) < LEAST_NORMAL
    return abs(a - b) < 1 << 45 or bool(overflow) or tiny


def fits_tiny(before: Record, ours: Record, theirs: Record) -> bool:
    """A denormal estimate on both sides; only the peer's is rounded."""
    n = field_of(before.word, 6, 10)
    tiny = max(ours.fpr[n] & MAGNITUDE, theirs.fpr[n] & MAGNITUDE) < LEAST_NORMAL
    return tiny and not ours.fpscr & fpscr.FI


def divides_by_zero(before: Record, *_: Record) -> bool:
    return before.fpr[field_of(before.word, 16, 20)] & MAGNITUDE == 0


def out_of_reach(before: Record, ours: Record, theirs: Record) -> bool:
    """Both trap, and the adjusted result is still no normal single."""
    exponent = ours.fpr[field_of(before.word, 6, 10)] >> 52 & 0x7FF
    return ours.signal == theirs.signal == FLOATING and not 897 <= exponent <= 1150


def both_trap(_: Record, ours: Record, theirs: Record) -> bool:
    return ours.signal == theirs.signal == FLOATING


def met_before(before: Record, ours: Record, theirs: Record) -> bool:
    """No exception bit is new, FX was clear, and the peer sets it."""
    new = ours.fpscr & ~before.fpscr & MET
    return not new and bool(theirs.fpscr & ~before.fpscr & fpscr.FX)


def inexact_before(before: Record, *_: Record) -> bool:
    return bool(before.fpscr & fpscr.FI)


def stopped(before: Record, ours: Record, theirs: Record) -> bool:
    """An enabled invalid operation on both sides."""
    enabled = bool(before.fpscr & fpscr.VE)
    return enabled and both_trap(before, ours, theirs) and invalid(before, ours, theirs)


def denormal_single(_: Record, ours: Record, __: Record) -> bool:
    return bool(ours.fpscr & fpscr.FPRF & 0x1_0000)


def inexact_trap(before: Record, ours: Record, theirs: Record) -> bool:
    """The peer's inexact quotient traps where the estimate has no such exception."""
    return bool(before.fpscr & fpscr.XE) and theirs.signal == FLOATING != ours.signal


def misaligned(_: Record, ours: Record, __: Record) -> bool:
    return ours.signal in (MISALIGNED, Interrupt.ALIGNMENT)


def power_register(before: Record, *_: Record) -> bool:
    return field_of(before.word, 16, 20) == 0 and field_of(before.word, 11, 15) in (0, 4, 5, 6)


UPPER_BATS: Final = tuple(f"mfspr_{kind}bat{n}u" for kind in "id" for n in range(8))
DIVIDES: Final = ("divw", "divwu")
LOADS_WITH_UPDATE: Final = (
    *("lbzu", "lbzux", "lhzu", "lhzux", "lhau", "lhaux", "lwzu", "lwzux"),
    *("lwaux", "ldu", "ldux"),
)
FUSED: Final = ("fmadd", "fmadds", "fmsub", "fmsubs")
NEGATED: Final = ("fnmadd", "fnmadds", "fnmsub", "fnmsubs")
SUMS: Final = ("fadd", "fadds", "fsub", "fsubs", "fmul", "fmuls", "fdiv", "fdivs", "frsp")
SINGLES: Final = ("frsp", "fsqrts", *(n for n in (*SUMS, *FUSED, *NEGATED) if n.endswith("s")))
LATER_INTEGERS: Final = ("fcfids", "fcfidu", "fcfidus")
UNSIGNED_RESULTS: Final = ("fctidu", "fctiduz", "fctiwu", "fctiwuz")
LATER_ROUNDING: Final = (
    *(*LATER_INTEGERS, *UNSIGNED_RESULTS),
    *("frin", "friz", "frip", "frim", "fre", "frsqrtes"),
)
ROUNDING: Final = (
    *(*SUMS, *FUSED, *NEGATED, "fctiw", "fctiwz"),
    *("fcfid", "fctid", "fctidz", "fsqrt", "fsqrts"),
    *LATER_ROUNDING,
)
STATUS: Final = fpscr.FX | fpscr.XX | fpscr.FI | fpscr.FR | fpscr.FPRF

#: The 405's multiply-accumulate instructions that QEMU 7.2 gets wrong (facts of the ref405ep).
MACS: Final = tuple(f"mac{h}w{u}" for h in ("ch", "hh", "lh") for u in ("", "u"))
NMACS: Final = tuple(f"nmac{h}w" for h in ("ch", "hh", "lh"))
SATURATING: Final = tuple(f"{s}mac{h}ws" for s in ("", "n") for h in ("ch", "hh", "lh"))

EXCUSES: Final = (
    Excuse(
        DIVIDES,
        {"RT": ALL, "cr": 0xE000_0000},
        "no quotient (division by zero, or 0x80000000 / -1): RT, and LT, GT, EQ of CR0",
        "RT is 0, or -1 for divw of a negative RA, as 750-family parts give",
        "undefined: PEM chapter 8, divw, divwu",
        no_quotient,
    ),
    Excuse(
        LOADS_WITH_UPDATE,
        OUTCOME,
        "invalid form RA = RT",
        "the access is done and RA gets the effective address; the peer traps",
        "invalid form: PEM chapter 8; MPC750UM 2.3.4.3.3",
        loads_its_base,
    ),
    Excuse(
        ("lswi", "lswx"),
        OUTCOME,
        "invalid form: RA or RB among the registers loaded",
        "the access is done from the address that RA and RB gave before; the peer traps",
        "invalid form: PEM chapter 8; MPC750UM 2.3.4.3.7",
        string_over_base,
    ),
    Excuse(
        ("sth", "stw", "sthu", "stwu", "sthx", "stwx", "sthux", "stwux", "sthbrx", "stwbrx"),
        {"memory": ALL},
        "the store faults in its second page",
        "nothing is stored; the peer stores the part in the first page",
        "PEM 6.1.3: partially executed stores are allowed",
        both_stop,
        ("unicorn",),
    ),
    Excuse(
        ("mtspr_xer", "mfspr_xer"),
        {"xer": 0x1FFF_0080, "RT": 0x1FFF_0080},
        "XER bits 3 to 15 and 24",
        "reserved bits of XER read as zero; the peer keeps them",
        "MPC750UM 2.1.1, XER",
        always,
    ),
    Excuse(
        ("mfspr_undefined", "mtspr_undefined"),
        OUTCOME,
        "registers 0, 4, 5, 6 of POWER",
        "illegal; in supervisor mode the peer takes some for privileged and ignores others",
        "PEM chapter 8, mfspr: spr[0] = 0 is illegal",
        power_register,
    ),
    Excuse(
        ("mfspr_undefined",),
        OUTCOME,
        "registers 284 and 285",
        "the time base is written there and read at 268 and 269; the peer reads it at both",
        "MPC750UM 2.1.1",
        writes_time,
    ),
    Excuse(
        UPPER_BATS,
        {"RT": 0x0FFF_E000},
        "the address bits that the block length covers, written and read back",
        "the register keeps what is written; the peer clears them",
        "PEM 7.4.3",
        always,
    ),
    Excuse(
        ("mfspr_sia", "mfspr_usia", "mfspr_sda"),
        OUTCOME,
        "SIA and SDA, written and read back",
        "mtspr writes SIA and SDA; the peer refuses",
        "MPC750UM 11.2.1; inferred for the 604e's SDA",
        always,
    ),
    Excuse(
        ("mfspr_hid0",),
        {"RT": 0x0000_0C00},
        "HID0[ICFI, DCFI], written and read back",
        "the bits clear themselves; the peer keeps them",
        "MPC750UM 2.1.2.2",
        always,
    ),
    Excuse(
        ("mfspr_hid0_7450",),
        {"RT": 0x0102_0C00},
        "HID0[STEN, XAEN, ICFI, DCFI], written and read back",
        "STEN and XAEN read as zero: neither is there; ICFI and DCFI clear themselves; the peer"
        " keeps them all and obeys neither STEN nor XAEN",
        "MPC7450UM 2.1.5",
        always,
    ),
    Excuse(
        ("mfspr_hid1_7450",),
        {"RT": 0x0001_F000},
        "HID1[PC0 to PC4], written and read back",
        "the clock multiplier is read-only; the peer keeps what is written",
        "MPC7450UM 2.1.5",
        always,
    ),
    Excuse(
        ("mfspr_hid1_750fx",),
        {"RT": 0xFFFC_0000},
        "HID1 bits 0 to 13, written and read back",
        "only what selects and configures the PLLs can be written; bit 7 says which one runs",
        "750FX user manual 2.1.2.3",
        always,
    ),
    Excuse(
        ("mfspr_msscr0",),
        {"RT": 0x0080_0000},
        "MSSCR0[DL1HWF], written and read back",
        "the flush is over at once; the peer keeps the bit",
        "MPC7400UM 2.1.2, MPC7450UM 2.1.5",
        always,
    ),
    Excuse(
        ("mfspr_l3cr",),
        {"RT": 0x0000_0C00},
        "L3CR[L3HWF, L3I], written and read back",
        "flush and invalidation are over at once; the peer keeps the bits",
        "MPC7450UM 2.1.5",
        always,
    ),
    Excuse(
        ("mfspr_hid1",),
        {"RT": ALL},
        "HID1, written and read back",
        "HID1 is read-only; the peer keeps what is written",
        "MPC750UM 2.1.2.3",
        always,
    ),
    Excuse(
        ("mfspr_l2cr", "mfspr_l2cr_7450"),
        {"RT": ALL},
        "L2CR, written and read back",
        "L2CR keeps its bits but L2I and L2IP (7450: L2I and L2HWF); the peer's is always zero",
        "MPC750UM 2.1.5",
        always,
    ),
    Excuse(
        ("mfspr_ear",),
        {"RT": 0x7FFF_FFC0},
        "EAR bits 1 to 25, written and read back",
        "reserved bits read as zero; the peer keeps them",
        "PEM 2.3.16",
        always,
    ),
    Excuse(
        ("mfspr_pir",),
        {"RT": 0xFFFF_FFF0},
        "PIR bits 0 to 27, written and read back",
        "PIR keeps what is written; the peer keeps four bits",
        "open: MPC7400UM 2.1 refers to the OEA, which leaves the width to the part",
        always,
    ),
    Excuse(
        ("dst", "dstt", "dstst", "dststt"),
        OUTCOME,
        "invalid form RA = 0",
        "a hint, so nothing happens; the peer refuses",
        "invalid form: AltiVec PEM chapter 6, dst",
        no_base,
    ),
    Excuse(
        ("mtmsr",),
        {"msr": 0x0000_1000},
        "MSR[ME]",
        "mtmsr writes ME; the peer leaves it",
        "PEM chapter 8, mtmsr",
        always,
    ),
    Excuse(
        ("rfi",),
        {"msr": 0x0001_0000},
        "MSR[ILE]",
        "rfi leaves ILE; the peer takes it from SRR1",
        "MPC750UM chapter 12, rfi",
        always,
    ),
    Excuse(
        ("stwcx.",),
        OUTCOME,
        "the address is no word's",
        "alignment interrupt; the peer has none for stwcx.",
        "MPC750UM 4.5.6",
        misaligned,
    ),
    Excuse(
        ("mftb_undefined",),
        OUTCOME,
        "any",
        "mftb of another register than 268 and 269 is illegal; to the peer it is mfspr",
        "invalid form: PEM chapter 8, mftb",
        always,
    ),
    Excuse(
        ("eciwx", "ecowx"),
        OUTCOME,
        "any",
        "eciwx is XO 310 and loads, ecowx is XO 438 and stores; the peer has them exchanged",
        "PEM chapter 8, eciwx, ecowx",
        always,
    ),
    Excuse(
        ("stfs", "stfsu", "stfsx", "stfsux"),
        {"memory": ALL},
        "the double is not zero and below 2**-149",
        "the bits as for a normal number, as 750-family parts store; the peer stores zero",
        "undefined: Book I 4.6.3",
        below_single,
    ),
    Excuse(
        ("mffs", "fctiw", "fctiwz"),
        {"FRT": 0xFFFF_FFFF << 32},
        "bits 0 to 31 of FRT",
        "0xFFF80000 (0xFFF80001 for a converted -0), as 750-family parts give",
        "undefined: Book I 4.6.8, mffs, and 4.6.6, fctiw",
        always,
    ),
    Excuse(
        ("mtfsb1",),
        {"fpscr": fpscr.FX, "cr": CR1_FX},
        "FPSCR[FX] and its copy in CR1",
        "FX is set when the bit set is an exception bit that was zero",
        "PEM 2.1.4, FX: every instruction but mtfsfi and mtfsf sets it implicitly",
        always,
    ),
    Excuse(
        ("mtfsb1",),
        {"fpscr": fpscr.NI},
        "FPSCR[NI]",
        "the bit can be set; the peer refuses",
        "MPC750UM 2.1.1, NI",
        always,
    ),
    Excuse(
        (*ROUNDING, "fres", "frsqrte"),
        {"cr": 0x0F00_0000},
        "CR1 of a recording form that takes an enabled exception",
        "CR1 is written with FPSCR; the peer leaves it",
        "PEM 3.3.6.1: only FRT and FPRF are kept",
        both_trap,
    ),
    Excuse(
        ("fcfid", *LATER_INTEGERS),
        {"FRT": ALL, "fpscr": fpscr.FPRF},
        "the result is inexact and that is an enabled exception",
        "FRT and FPRF are written; the peer traps before",
        "Power ISA 2.03 Book I 4.4.5",
        both_trap,
    ),
    Excuse(
        SINGLES,
        {"fpscr": 0x0001_0000},
        "FPSCR[C] when the result is a denormal single",
        "FPRF gives the class of the result in its own format; the peer takes the double's",
        "PEM 2.1.4, FPRF",
        denormal_single,
    ),
    Excuse(
        ("fres", "frsqrte", "fre", "frsqrtes"),
        OUTCOME,
        "XE is set and the peer traps",
        "an estimate is never inexact",
        "PEM chapter 8, fres, frsqrte: XX not altered",
        inexact_trap,
    ),
    Excuse(
        ("fres", "fre"),
        {"FRT": ALL, "fpscr": fpscr.FPRF},
        "the operand is zero",
        "the result is infinity; the peer's is 0.5 when rounding towards -infinity",
        "PEM chapter 8, fres",
        divides_by_zero,
    ),
    Excuse(
        SINGLES,
        {"FRT": ALL},
        "enabled overflow or underflow so far out that the adjusted result is no normal single",
        "the exponent is adjusted by 192; the peer wraps it in a single's eight bits",
        "PEM 3.3.6.2",
        out_of_reach,
    ),
    Excuse(
        ("fcmpo", "fcmpu"),
        {"fpscr": 0x0001_0000},
        "FPSCR[C] when an operand is a signaling NaN, or for fcmpo any NaN",
        "compares write FPCC only; the peer sets C",
        "PEM chapter 8, fcmpo, fcmpu",
        invalid,
    ),
    Excuse(
        ("fcmpo",),
        {"fpscr": fpscr.VXVC},
        "FPSCR[VXVC] of a signaling NaN with VE set",
        "VXVC is set beside VXSNAN only while VE is clear; the peer always sets it",
        "PEM chapter 8, fcmpo",
        invalid,
    ),
    Excuse(
        ("fcmpo", "fcmpu"),
        {"fpscr": fpscr.FI},
        "FPSCR[FI], when it was set",
        "compares leave FI; the peer clears it",
        "PEM chapter 8, fcmpo, fcmpu",
        inexact_before,
    ),
    Excuse(
        (*ROUNDING, "fres", "frsqrte", "fcmpo", "fcmpu"),
        {"fpscr": fpscr.FX, "cr": CR1_FX},
        "FPSCR[FX] and its copy in CR1, when it was clear and no exception bit is new",
        "FX is set when an exception bit goes from 0 to 1; the peer sets it again",
        "PEM 2.1.4, FX",
        met_before,
    ),
    Excuse(
        (*ROUNDING, "fres", "frsqrte"),
        {"fpscr": fpscr.FI | fpscr.FR},
        "FPSCR[FR, FI] of an enabled invalid operation",
        "both are cleared; the peer leaves them",
        "PEM 3.3.6.1.1",
        stopped,
    ),
    Excuse(
        ("fctiw", "fctiwz", "fctid", "fctidz", *UNSIGNED_RESULTS),
        {"fpscr": fpscr.FPRF},
        "FPSCR[FPRF]",
        "left as it was; the peer sets it for an invalid conversion",
        "undefined: PEM chapter 8, fctiw",
        invalid,
    ),
    Excuse(
        ROUNDING,
        {"fpscr": fpscr.FR},
        "FPSCR[FR]",
        "FR says whether rounding increased the fraction; the peer never sets it",
        "PEM 2.1.4, FR",
        always,
    ),
    Excuse(
        LATER_INTEGERS,
        {"fpscr": fpscr.FPRF},
        "FPSCR[FPRF]",
        "the class of the result; the peer leaves it",
        "Power ISA 2.07 Book I 4.6.7.2",
        always,
    ),
    Excuse(
        ("divde",),
        {"RT": ALL, "cr": 0xF000_0000, "xer": 0xC000_0000},
        "a quotient of 64 bits without room for its sign",
        "an overflow; the peer sees none",
        "Power ISA 2.07 Book I 3.3.9.1",
        no_room_for_a_sign,
    ),
    Excuse(
        NEGATED,
        {"FRT": ALL, "fpscr": STATUS | fpscr.OX | fpscr.UX, "cr": 0x0F00_0000},
        "rounding towards +infinity or -infinity",
        "the sum is rounded, then negated; the peer rounds the negated sum",
        "PEM chapter 8, fnmadd, fnmsub",
        directed,
    ),
    Excuse(
        NEGATED,
        OUTCOME,
        "rounding towards +infinity or -infinity, and an enabled exception on one side only",
        "as above: the other rounding may be inexact or overflow where this is not",
        "PEM chapter 8, fnmadd, fnmsub",
        directed_and_one_traps,
    ),
    Excuse(
        (*ROUNDING, "fres", "frsqrte"),
        {"FRT": ALL, "fpscr": STATUS | fpscr.OX | fpscr.UX, "cr": 0x0F00_0000},
        "FPSCR[NI] is set: result and status",
        "denormal results are zero; the peer has no such mode",
        "MPC750UM 2.1.1, NI: implementation-dependent",
        non_ieee,
    ),
    Excuse(
        ("fres",),
        {"fpscr": fpscr.UX},
        "FPSCR[UX] of a denormal estimate that needs no rounding",
        "no underflow without loss; the peer's exact quotient is rounded",
        "PEM 3.3.6.2.2",
        fits_tiny,
    ),
    Excuse(
        ("fres", "frsqrte", "fre", "frsqrtes"),
        {"FRT": ALL, "fpscr": STATUS, "cr": CR1_FX},
        "the two results are within 1/256, or both overflow or underflow",
        "the estimate is the 750's and sets no XX; the peer computes the exact quotient",
        "PEM chapter 8, fres, frsqrte: FR, FI undefined",
        estimates,
    ),
    Excuse(
        (*MACS, *NMACS),
        {"RT": ALL, "cr": 0xE000_0000},
        "without OE and saturation the peer leaves RT as it was",
        "RT is the sum",
        "PPC405 core user's manual chapter 9",
        leaves_target,
        ("qemu",),
    ),
    Excuse(
        (*MACS, *NMACS),
        {"xer": 0xC000_0000, "cr": 0x1000_0000},
        "OE: the peer works OV out from RT as it was before",
        "OV says that the sum does not fit",
        "PPC405 core user's manual chapter 9",
        records_overflow,
        ("qemu",),
    ),
    Excuse(
        SATURATING,
        {"RT": ALL, "xer": 0xC000_0000, "cr": 0xF000_0000},
        "the peer saturates sums that fit, and not those that do not",
        "RT is the signed number nearest to the sum",
        "PPC405 core user's manual chapter 9",
        always,
        ("qemu",),
    ),
)


def masks(
    name: str,
    peer: str,
    before: Record,
    ours: Record,
    theirs: Record,
    excuses: Iterable[Excuse] = EXCUSES,
) -> dict[str, int]:
    """What is not compared in this vector, by the record's names."""
    number = field_of(before.word, 6, 10)
    operand = {"RT": f"gpr{number}", "FRT": f"fpr{number}", "FRT1": f"fpr{number | 1}"}
    found: dict[str, int] = {}
    for e in excuses:
        if peer in e.peers and name in e.family and e.holds(before, ours, theirs):
            for target, bits in e.bits.items():
                where = operand.get(target, target)
                found[where] = found.get(where, 0) | bits
    return found


def hidden_bits(e: Excuse) -> str:
    """What an excuse masks, as text."""
    if "outcome" in e.bits:
        return "whole result"
    return ", ".join(f"{n} {b:#x}" if b != ALL else n for n, b in e.bits.items())


def markdown(excuses: Iterable[Excuse] = EXCUSES) -> str:
    """The table of docs/isa-deviations.md."""
    lines = [
        "| Instructions | Masked | When | Our rule | Source | Peers |",
        "|---|---|---|---|---|---|",
    ]
    for e in excuses:
        names = ", ".join(e.family)
        cells = (names, hidden_bits(e), e.condition, e.rule, e.source, ", ".join(e.peers))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
