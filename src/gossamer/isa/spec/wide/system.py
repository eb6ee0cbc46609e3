"""System linkage, MSR and segment lookaside buffer of 64-bit parts, below a hypervisor.

What only a hypervisor may do is a privileged-instruction interrupt (QEMU's answer, too).
Source: Power ISA 2.03 Book III-S 3.2, 3.3, 4.3, 4.9.3; 2.07 Book III-S 4.4.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import SRR1_PRIVILEGED, Body, Interrupt, number
from gossamer.isa.expr import Expr, eq, gtu, low, ltu, ne, select
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import SCLEV, XL, MsrL, X
from gossamer.isa.spec.system import set_msr

#: MSR bits of the 970 that a guest of a hypervisor has: SF, VEC, EE, PR, FP, ME, FE0, SE, BE, FE1,
#: IR, DR, PMM, RI.  POW reads as zero: a guest cedes its CPU instead.
MSR_970: Final = 1 << 63 | 1 << 25 | 0xFF36
MSR_SF: Final = 1 << 63
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


def implemented(s: Body, value: Expr) -> Expr:
    """An MSR as the part keeps it: a program has interrupts and translation on."""
    kept = value & MSR_970
    return select(ne(value & MSR_PR, 0), kept | WITH_PR, kept)


def hypervisors(s: Body) -> None:
    """Privileged in supervisor state, too."""
    s.interrupt(Interrupt.PROGRAM, srr1=SRR1_PRIVILEGED)


@insn(SCLEV, "sc LEV", OPCD=17, ONE=1, LEV=1, width=64, name="sc_1")
def sc_1(s: Body, _: SCLEV) -> None:
    """The hypervisor's call; it finds the state behind this instruction."""
    s.effect("hypercall")


@insn(XL, "rfid", OPCD=19, XO=18, supervisor=True, width=64)
def rfid(s: Body, _: XL) -> None:
    """To SRR0 in the mode that SRR1 says; ME is taken from there, as QEMU does."""
    value = implemented(s, s.srr1)
    set_msr(s, value)
    wide = ne(value & MSR_SF, 0)
    s.branch_anywhere(select(wide, s.srr0, s.word(low(s.srr0))))


@insn(XL, "rfi", OPCD=19, XO=50, width=64, name="rfi_64")
def rfi_64(s: Body, _: XL) -> None:
    """Not on 64-bit parts."""
    s.illegal()


@insn(XL, "hrfid", OPCD=19, XO=274, width=64)
def hrfid(s: Body, _: XL) -> None:
    hypervisors(s)


def merge(s: Body, i: MsrL, mask: int) -> None:
    """MSR with the bits of `mask` from RS; with L = 1, EE and RI alone."""
    bits = select(eq(i.L, 1), s.word(SPARSE), s.word(mask))
    set_msr(s, implemented(s, s.gpr[i.RS] & bits | s.msr & ~bits))


@insn(MsrL, "mtmsrd RS,L", OPCD=31, XO=178, supervisor=True, width=64, special=[{"L": 1}])
def mtmsrd(s: Body, i: MsrL) -> None:
    merge(s, i, ~(MSR_ME | MSR_LE))


@insn(MsrL, "mtmsr RS,L", OPCD=31, XO=146, supervisor=True, width=64, name="mtmsr_64")
def mtmsr_64(s: Body, i: MsrL) -> None:
    merge(s, i, 0xFFFF_FFFF & ~(MSR_ME | MSR_LE))


# --- segment lookaside buffer ---------------------------------------------------------------------


def slot_of(s: Body, value: Expr) -> Expr:
    """The number of an entry, 12 bits of it; illegal where there is none."""
    slot = number(low(value)) & SLOT
    s.illegal(gtu(slot, ENTRIES - 1))
    return slot


@insn(X, "slbmte RS,RB", OPCD=31, XO=402, supervisor=True, width=64)
def slbmte(s: Body, i: X) -> None:
    """Illegal where the entry is none that the part could use."""
    esid, vsid = s.gpr[i.RB], s.gpr[i.RS]
    slot = slot_of(s, esid)
    esid = esid & ~SLOT
    page = vsid & L_LP
    usable = eq(page, 0) | eq(page, 0x100)
    s.illegal(ne(esid & ~(ESID | ESID_V), 0) | ne(vsid & (B_RESERVED | B_1T), 0) | ~usable)
    s.slb_esid[slot & ENTRIES - 1] = esid
    s.slb_vsid[slot & ENTRIES - 1] = vsid
    s.effect("slb")


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


@insn(X, "slbmfee RT,RB", OPCD=31, XO=915, supervisor=True, width=64)
def slbmfee(s: Body, i: X) -> None:
    slot = slot_of(s, s.gpr[i.RB])
    s.gpr[i.RT] = s.slb_esid[slot & ENTRIES - 1]


@insn(X, "slbmfev RT,RB", OPCD=31, XO=851, supervisor=True, width=64)
def slbmfev(s: Body, i: X) -> None:
    slot = slot_of(s, s.gpr[i.RB])
    s.gpr[i.RT] = s.slb_vsid[slot & ENTRIES - 1]


@insn(X, "tlbie RB", OPCD=31, XO=306, width=64, name="tlbie_64")
def tlbie_64(s: Body, _: X) -> None:
    hypervisors(s)


@insn(X, "tlbiel RB", OPCD=31, XO=274, width=64)
def tlbiel(s: Body, _: X) -> None:
    hypervisors(s)
