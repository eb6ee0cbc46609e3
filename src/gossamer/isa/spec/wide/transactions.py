"""Transactions, each of which fails at once, and facilities that the supervisor can bar.

A `tbegin.` says that it nested too deeply and that trying again is no use, and goes on at the next
instruction, which is where a program looks for that: the architecture lets a part have no room.
Outside a transaction, which is always, the others only say so.
Source: Power ISA 2.07 Book II chapter 5, Book III-S 6.5.21 (FSCR); QEMU 7.2 for what is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, eq, ne, select
from gossamer.isa.form import Field, Form
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import Interrupt
from gossamer.isa.spec.forms import XFX, X, XRecord
from gossamer.isa.spec.spr_row import Spr

SINCE: Final = ("2.07",)
MSR_TM: Final = 1 << 32
MSR_PR: Final = 0x4000
TFHAR, TFIAR, TEXASR = range(3)
#: TEXASR: the failure is persistent, nesting overflow, summary, TFIAR is exact; from problem state.
FAILED: Final = 1 << 56 | 1 << 54 | 1 << 27 | 1 << 26
FROM_PROBLEM: Final = 1 << 28
#: FSCR[IC], and its values.
IC_SHIFT: Final = 56
IC_TM: Final = 5
IC_DSCR: Final = 2
IC_EBB: Final = 7
IC_TAR: Final = 8
FSCR_TAR: Final = 1 << 8


def facility(s: Body, enabled: Expr, cause: int) -> None:
    """The facility unavailable interrupt where it is not `enabled`; FSCR[IC] says which it was."""
    cleared = s.fscr & ~(0xFF << IC_SHIFT)
    s.write("fscr", 0, cleared | cause << IC_SHIFT, ~enabled)
    s.interrupt(Interrupt.FACILITY, ~enabled, commit=True)


def transactional(s: Body) -> Expr:
    """Whether MSR[TM] lets such an instruction through; the interrupt where not."""
    enabled = ne(s.msr & MSR_TM, 0)
    facility(s, enabled, IC_TM)
    return enabled


class Tend(Form):
    """`tend.`, of all levels or not."""

    A, XO, RECORD = Field(6, 6), Field(21, 30), Field(31, 31)


class TabortI(XRecord):
    """A comparison with a number."""

    SIMM = Field(16, 20, signed=True)


@insn(XRecord, "tbegin. L", name="tbegin.", OPCD=31, XO=654, RECORD=1, features=SINCE, width=64)
def tbegin(s: Body, _: XRecord) -> None:
    enabled = transactional(s)
    user = ne(s.msr & MSR_PR, 0)
    s.write("tm", TFHAR, s.address(s.cia + 4), enabled)
    s.write("tm", TFIAR, s.cia | select(user, s.word(1), s.word(0)), enabled)
    s.write("tm", TEXASR, select(user, s.word(FAILED | FROM_PROBLEM), s.word(FAILED)), enabled)
    s.write("crf", 0, s.crf[0] & 0 | 0xB, enabled)


def outside(
    name: str,
    operands: str,
    xo: int,
    form: type[XRecord] | type[Tend] = XRecord,
    *,
    supervisor: bool = False,
) -> None:
    """An instruction that says in CR0 that there is no transaction."""

    @insn(
        form, f"{name} {operands}".rstrip(), name=name, OPCD=31, XO=xo, RECORD=1, features=SINCE,
        width=64, supervisor=supervisor,
    )  # fmt: skip
    def body(s: Body, _: Form) -> None:
        s.write("crf", 0, s.crf[0] & 0, transactional(s))


outside("tend.", "A", 686, Tend)
outside("tsr.", "L", 750)
outside("tabort.", "RA", 910)
outside("tabortwc.", "TO,RA,RB", 782)
outside("tabortdc.", "TO,RA,RB", 814)
outside("tabortwci.", "TO,RA,SIMM", 846, TabortI)
outside("tabortdci.", "TO,RA,SIMM", 878, TabortI)
outside("treclaim.", "RA", 942, supervisor=True)
outside("trechkpt.", "", 1006, supervisor=True)


@insn(X, "tcheck BF", OPCD=31, XO=718, features=SINCE, width=64)
def tcheck(s: Body, i: X) -> None:
    """Doomed, and not in a transaction."""
    enabled = transactional(s)
    s.crf[i.BF] = select(enabled, s.crf[i.BF] & 0 | 8, s.crf[i.BF])


# --- their registers ------------------------------------------------------------------------------

Enabled = Callable[[Body], Expr]
Value = Callable[[Body], Expr]


def of_problem_state(bit: int, cause: int) -> Enabled:
    """What FSCR bars from programs alone."""

    def allowed(s: Body) -> Expr:
        enabled = ne(s.fscr & 1 << bit, 0) | eq(s.msr & MSR_PR, 0)
        facility(s, enabled, cause)
        return enabled

    return allowed


def define_read(name: str, spr: int, value: Value, allowed: Enabled) -> None:
    """The move from a register that may be barred: RT stays then."""

    @insn(
        XFX, "mfspr RT,SPR", name=f"mfspr_{name.lower()}", OPCD=31, XO=339, SPRL=spr & 31,
        SPRH=spr >> 5, features=SINCE, width=64,
    )  # fmt: skip
    def mfspr(s: Body, i: XFX) -> None:
        s.write("gpr", number(i.RT), value(s), allowed(s))


def barred(name: str, spr: int, register: str, element: int, allowed: Enabled) -> Spr:
    """A register that keeps what is written where it is `allowed`."""

    def write(s: Body, value: Expr) -> None:
        s.write(register, element, value, allowed(s))

    def held(s: Body) -> Expr:
        return Expr("reg", 64, (number(element),), register)

    define_read(name, spr, held, allowed)
    return Spr(name, spr, None, write, SINCE, (register, element), width=64)


def _write_upper(s: Body, value: Expr) -> None:
    low = s.tm[TEXASR] & 0xFFFF_FFFF
    s.write("tm", TEXASR, value << 32 | low, transactional(s))


define_read("TEXASRU", 131, lambda s: s.tm[TEXASR] >> 32, transactional)

SPRS: Final = (
    barred("TFHAR", 128, "tm", TFHAR, transactional),
    barred("TFIAR", 129, "tm", TFIAR, transactional),
    barred("TEXASR", 130, "tm", TEXASR, transactional),
    Spr("TEXASRU", 131, None, _write_upper, SINCE, width=64),
    barred("TAR", 815, "tar", 0, of_problem_state(8, IC_TAR)),
    barred("UDSCR", 3, "dscr", 0, of_problem_state(2, IC_DSCR)),
    *(
        barred(name, 804 + n, "ebb", n, of_problem_state(7, IC_EBB))
        for n, name in enumerate(("EBBHR", "EBBRR", "BESCR"))
    ),
)
