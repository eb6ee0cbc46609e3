"""System linkage, MSR and segment lookaside buffer of 64-bit parts, below a hypervisor.

What only a hypervisor may do is a privileged-instruction interrupt (QEMU's answer, too).
Source: Power ISA 2.03 Book III-S 3.2, 3.3, 4.3, 4.9.3; 2.07 Book III-S 4.4.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.architecture import MSR_SF
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, const, eq, gtu, low, ltu, ne, select, zext
from gossamer.isa.form import Field
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import SRR1_PRIVILEGED, Interrupt
from gossamer.isa.spec.forms import SCLEV, XL, MsrL, X, XRc, XRecord
from gossamer.isa.spec.system import set_msr

#: MSR bits that a guest of a hypervisor has on a 970: SF, VEC, EE, PR, FP, ME, FE0, SE, BE, FE1,
#: IR, DR, PMM, RI.  POW reads as zero: a guest cedes its CPU instead.
MSR_970: Final = 1 << 63 | 1 << 25 | 0xFF36
#: On a POWER8 TM, VSX and LE, too.
MSR_2_07: Final = MSR_970 | 1 << 32 | 1 << 23 | 1
MSR_EE: Final = 0x8000
MSR_PR: Final = 0x4000
MSR_ME: Final = 0x1000
MSR_LE: Final = 1
MSR_RI: Final = 2
#: What a program always has: interrupts and translation.
WITH_PR: Final = 0x8030
SPARSE: Final = MSR_EE | MSR_RI

#: Bits of an SLB entry's two words.
ESID: Final = 0xFFFF_FFFF_F000_0000
ESID_V: Final = 0x0800_0000
SLOT: Final = 0xFFF
B_RESERVED: Final = 1 << 63
B_1T: Final = 1 << 62
L_LP: Final = 0x130
ENTRIES: Final = 64


def implemented(s: Body, value: Expr, bits: int) -> Expr:
    """An MSR as the part keeps it, of `bits`: a program has interrupts and translation on."""
    kept = value & bits
    return select(ne(value & MSR_PR, 0), kept | WITH_PR, kept)


@insn(SCLEV, "sc LEV", OPCD=17, ONE=1, LEV=1, width=64, name="sc_1")
def sc_1(s: Body, _: SCLEV) -> None:
    """The hypervisor's call; it finds the state behind this instruction."""
    s.effect("hypercall")


def define_msr(bits: int, features: tuple[str, ...], ending: str) -> None:
    """What writes the MSR of a part that has these bits."""

    @insn(
        XL, "rfid", name="rfid" + ending, OPCD=19, XO=18, supervisor=True, features=features,
        width=64,
    )  # fmt: skip
    def rfid(s: Body, _: XL) -> None:
        """To SRR0 in the mode that SRR1 says; ME is taken from there, as QEMU does."""
        value = implemented(s, s.srr1, bits)
        set_msr(s, value)
        wide = ne(value & MSR_SF, 0)
        s.branch_anywhere(select(wide, s.srr0, s.word(low(s.srr0))))

    def merge(s: Body, i: MsrL, mask: int) -> None:
        """MSR with the bits of `mask` from RS; with L = 1, EE and RI alone."""
        taken = select(eq(i.L, 1), s.word(SPARSE), s.word(mask))
        set_msr(s, implemented(s, s.gpr[i.RS] & taken | s.msr & ~taken, bits))

    @insn(
        MsrL, "mtmsrd RS,L", name="mtmsrd" + ending, OPCD=31, XO=178, supervisor=True,
        features=features, width=64, special=[{"L": 1}],
    )  # fmt: skip
    def mtmsrd(s: Body, i: MsrL) -> None:
        merge(s, i, ~(MSR_ME | MSR_LE))

    @insn(
        MsrL, "mtmsr RS,L", name="mtmsr_64" + ending, OPCD=31, XO=146, supervisor=True,
        features=features, width=64,
    )  # fmt: skip
    def mtmsr(s: Body, i: MsrL) -> None:
        merge(s, i, 0xFFFF_FFFF & ~(MSR_ME | MSR_LE))


define_msr(MSR_970, (), "")
define_msr(MSR_2_07, ("2.06",), "_2_06")


@insn(XL, "rfi", OPCD=19, XO=50, width=64, name="rfi_64")
def rfi_64(s: Body, _: XL) -> None:
    """Not on 64-bit parts."""
    s.illegal()


@insn(XL, "hrfid", OPCD=19, XO=274, width=64)
def hrfid(s: Body, _: XL) -> None:
    """There is no hypervisor state: illegal, as QEMU's pseries has it."""
    s.illegal()


# --- events ---------------------------------------------------------------------------------------

#: BESCR[GE], and bits that make this an invalid form, as QEMU has it.
GE: Final = 1 << 63
STATE: Final = 0xC000_0000


class XLS(XL):
    """A return from an event's branch."""

    S = Field(20, 20)


@insn(XLS, "rfebb S", OPCD=19, XO=146, features=("2.07",), width=64)
def rfebb(s: Body, i: XLS) -> None:
    """To EBBRR, with events on or off."""
    bescr = s.ebb[2]
    s.illegal(ne(bescr & STATE, 0))
    s.ebb[2] = bescr & ~GE | zext(i.S, 64) << 63
    s.branch(s.ebb[1])


# --- the hypervisor's -----------------------------------------------------------------------------


def define_hypervisors(name: str, opcode: int, xo: int, operands: str = "") -> None:
    """What a guest is refused as privileged, in supervisor state too."""

    @insn(
        X, f"{name} {operands}".rstrip(), name=name, OPCD=opcode, XO=xo, features=("2.07",),
        width=64,
    )  # fmt: skip
    def refused(s: Body, _: X) -> None:
        s.interrupt(Interrupt.PROGRAM, srr1=SRR1_PRIVILEGED)


for _name, _xo in {"doze": 402, "nap": 434, "sleep": 466, "rvwinkle": 498}.items():
    define_hypervisors(_name, 19, _xo)
for _name, _xo in {"lwzcix": 789, "lhzcix": 821, "lbzcix": 853, "ldcix": 885}.items():
    define_hypervisors(_name, 31, _xo, "RT,RA,RB")
for _name, _xo in {"stwcix": 917, "sthcix": 949, "stbcix": 981, "stdcix": 1013}.items():
    define_hypervisors(_name, 31, _xo, "RS,RA,RB")
for _name, _xo in {"msgsnd": 206, "msgclr": 238}.items():
    define_hypervisors(_name, 31, _xo, "RB")


# --- priority of the thread -----------------------------------------------------------------------

#: PPR[PRI], and what ``or n,n,n`` sets it to; those of the second line are supervisor's.
PRI: Final = 7 << 50
PRIORITIES: Final = {1: 2, 6: 3, 2: 4}
SUPERVISORS: Final = {31: 1, 5: 5, 3: 6}


def define_priority(register: int, priority: int, supervisors: bool) -> None:
    """``or n,n,n``, which changes nothing but PPR (Power ISA 2.06 Book II 3.2)."""

    @insn(
        XRc, "or{Rc} RA,RS,RB", name=f"or_{register}", OPCD=31, XO=444, Rc=0, RS=register,
        RA=register, RB=register, width=64,
    )  # fmt: skip
    def or_same(s: Body, _: XRc) -> None:
        allowed = eq(s.msr & MSR_PR, 0) if supervisors else const(1, 1)
        s.write("ppr", 0, s.ppr & ~PRI | priority << 50, allowed)


for _register, _priority in PRIORITIES.items():
    define_priority(_register, _priority, False)
for _register, _priority in SUPERVISORS.items():
    define_priority(_register, _priority, True)


# --- segment lookaside buffer ---------------------------------------------------------------------


def slot_of(s: Body, value: Expr, entries: int = ENTRIES) -> Expr:
    """The number of an entry, 12 bits of it; illegal where there is none."""
    slot = number(low(value)) & SLOT
    s.illegal(gtu(slot, entries - 1))
    return slot


def set_entry(s: Body, i: X, pages: tuple[int, ...], reserved: int, entries: int) -> None:
    """Set an SLB entry; illegal where it is none that the part could use."""
    esid, vsid = s.gpr[i.RB], s.gpr[i.RS]
    slot = slot_of(s, esid, entries)
    esid = esid & ~SLOT
    usable = const(0, 1)
    for encoding in pages:
        usable = usable | eq(vsid & L_LP, encoding)
    s.illegal(ne(esid & ~(ESID | ESID_V), 0) | ne(vsid & reserved, 0) | ~usable)
    s.slb_esid[slot & ENTRIES - 1] = esid
    s.slb_vsid[slot & ENTRIES - 1] = vsid
    s.effect("slb")


@insn(X, "slbmte RS,RB", OPCD=31, XO=402, supervisor=True, width=64)
def slbmte(s: Body, i: X) -> None:
    set_entry(s, i, (0, 0x100), B_RESERVED | B_1T, ENTRIES)


@insn(
    X, "slbmte RS,RB", name="slbmte_2_06", OPCD=31, XO=402, supervisor=True, features=("2.06",),
    width=64,
)  # fmt: skip
def slbmte_2_06(s: Body, i: X) -> None:
    """Of 32 entries; segments of a terabyte and pages of 64 KiB and 16 GiB, too."""
    set_entry(s, i, (0, 0x110, 0x100, 0x120), B_RESERVED, 32)


@insn(X, "slbie RB", OPCD=31, XO=434, supervisor=True, width=64)
def slbie(s: Body, i: X) -> None:
    """The entry that translates RB's segment, if there is one, does so no more."""
    found = s.slb_find(s.gpr[i.RB])
    n = number(found) & ENTRIES - 1
    s.write("slb_esid", n, s.slb_esid[n] & ~ESID_V, ltu(found, ENTRIES))
    s.effect("slb")


@insn(X, "slbia", OPCD=31, XO=498, supervisor=True, width=64)
def slbia(s: Body, i: X) -> None:
    """All entries but number 0."""

    def one(k: Expr) -> None:
        s.slb_esid[k + 1] = s.slb_esid[k + 1] & ~ESID_V

    s.loop(ENTRIES - 1, one)
    s.effect("slb")


@insn(
    XRecord,
    "slbfee. RT,RB",
    name="slbfee.",
    OPCD=31,
    XO=979,
    RECORD=1,
    supervisor=True,
    features=("2.05",),
    width=64,
)
def slbfee(s: Body, i: XRecord) -> None:
    """The second word of the entry that translates RB's segment, zero where there is none."""
    found = s.slb_find(s.gpr[i.RB])
    there = ltu(found, ENTRIES)
    s.gpr[i.RT] = select(there, s.slb_vsid[number(found) & ENTRIES - 1], 0)
    s.crf[0] = select(there, const(2, 8), const(0, 8)) | s.so


@insn(X, "slbmfee RT,RB", OPCD=31, XO=915, supervisor=True, width=64)
def slbmfee(s: Body, i: X) -> None:
    slot = slot_of(s, s.gpr[i.RB])
    s.gpr[i.RT] = s.slb_esid[slot & ENTRIES - 1]


@insn(X, "slbmfev RT,RB", OPCD=31, XO=851, supervisor=True, width=64)
def slbmfev(s: Body, i: X) -> None:
    slot = slot_of(s, s.gpr[i.RB])
    s.gpr[i.RT] = s.slb_vsid[slot & ENTRIES - 1]


@insn(X, "tlbie RB", OPCD=31, XO=306, supervisor=True, width=64, name="tlbie_64")
def tlbie_64(s: Body, _: X) -> None:
    """A guest may (QEMU's pseries): its entries are hypercalls' to change."""
    s.effect("slb")


@insn(X, "tlbiel RB", OPCD=31, XO=274, supervisor=True, width=64)
def tlbiel(s: Body, _: X) -> None:
    s.effect("slb")
