"""Moves from and to special-purpose registers: an instruction a register and direction.

An undefined number (or
direction) is a program interrupt in user mode: privileged when the number's bit 0x10 is set,
otherwise illegal.  In supervisor mode the books allow anything; as in QEMU it does nothing.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.expr import eq, trunc
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import XFX
from gossamer.isa.spec.spr import SPRS, timebase_half
from gossamer.isa.spec.spr_row import Read, Spr, WriteTo

MFSPR: Final = 339
MTSPR: Final = 467
MFTB: Final = 371


def row_name(direction: str, spr: Spr) -> str:
    """`mfspr_lr`; a register that parts have with different bits is named after the first part."""
    twins = [t for t in SPRS if t.number == spr.number and t.name == spr.name]
    stem = f"{direction}_{spr.name.lower()}"
    first = next((t for t in twins if (t.write if direction == "mtspr" else t.read)), spr)
    return stem if spr is first or not spr.features else f"{stem}_{spr.features[0]}"


def define_read(spr: Spr, read: Read) -> None:
    @insn(
        XFX,
        "mfspr RT,SPR",
        name=row_name("mfspr", spr),
        supervisor=spr.supervisor,
        features=spr.features,
        width=spr.width,
        absent=spr.absent,
        OPCD=31,
        XO=MFSPR,
        SPRL=spr.number & 31,
        SPRH=spr.number >> 5,
    )
    def mfspr(s: Body, i: XFX) -> None:
        s.gpr[i.RT] = s.word(read(s))


def define_write(spr: Spr, write: WriteTo) -> None:
    @insn(
        XFX,
        "mtspr SPR,RS",
        name=row_name("mtspr", spr),
        supervisor=spr.supervisor,
        features=spr.features,
        width=spr.width,
        absent=spr.absent,
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
    spr = number(i.SPRH) << 5 | number(i.SPRL)
    power = eq(spr, 0) | eq(spr, 4) | eq(spr, 5) | eq(spr, 6)
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
    s.gpr[i.RT] = timebase_half(False)(s)


@insn(XFX, "mftb RT,SPR", name="mftbu", OPCD=31, XO=MFTB, SPRL=269 & 31, SPRH=269 >> 5)
def mftbu(s: Body, i: XFX) -> None:
    s.gpr[i.RT] = s.word(timebase_half(True)(s))


@insn(XFX, "mftb RT,SPR", name="mftb_undefined", OPCD=31, XO=MFTB)
def mftb_undefined(s: Body, _: XFX) -> None:
    s.illegal()
