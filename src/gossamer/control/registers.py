"""A machine's registers by name, to be read and written from outside: debuggers, Python.

Each stands here once, under the name that the books give it, in lower case.  Reading changes
nothing.  A write is made between two instructions; what hangs on the register (translations, the
decrementer's alarm, breakpoints) follows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.cpu.cpu_405 import Cpu405
from gossamer.cpu.model import CpuModel
from gossamer.isa.spec.parts import ALTIVEC, EMBEDDED, has
from gossamer.isa.spec.spr import SPRS
from gossamer.machines.machine import Machine

Get = Callable[[Machine], int]
Put = Callable[[Machine, int], None]
#: SPRs that only show another one to user mode, or that are core registers.
_SHOWN_ELSEWHERE: Final = frozenset({"XER", "LR", "CTR", "TBL", "TBU", "DEC", "PVR", "VRSAVE"})


class Register(Data):
    """A register of `bits` bits; `group` is general, float, vector or system.

    `put` takes a value that fits; None: it cannot be written.
    """

    name: str
    bits: int
    group: str
    get: Get
    put: Put | None


def _settle(m: Machine) -> None:
    """Registers that translation or breakpoints depend on may have been written."""
    m.engine.flush()
    m.processor.breakpoints_changed()
    m.cpu.registers_written()


def _element(name: str, bits: int, group: str, register: str, n: int = 0) -> Register:
    def put(m: Machine, value: int) -> None:
        m.cpu.block.set(register, value, n)
        if group == "system":
            _settle(m)

    return Register(name, bits, group, lambda m: m.cpu.block.get(register, n), put)


def _put_cr(m: Machine, value: int) -> None:
    m.cpu.block.cr = value


def _put_xer(m: Machine, value: int) -> None:
    m.cpu.block.xer = value


def _put_decrementer(m: Machine, value: int) -> None:
    m.cpu.set_decrementer(value)


def _put_timebase(m: Machine, value: int) -> None:
    m.cpu.block.set("tb_offset", value - m.cpu.ticks & ones(64))


def _pit(m: Machine) -> int:
    assert isinstance(m.cpu, Cpu405)
    return m.cpu.pit_value


def _put_pit(m: Machine, value: int) -> None:
    assert isinstance(m.cpu, Cpu405)
    m.cpu.set_pit(value)


def _system(model: CpuModel) -> Iterator[Register]:
    seen = set(_SHOWN_ELSEWHERE)
    embedded = has(model.features, EMBEDDED)
    if not embedded:
        for n in range(16):
            yield _element(f"sr{n}", 32, "system", "sr", n)
    yield Register("tb", 64, "system", lambda m: m.cpu.timebase, _put_timebase)
    if embedded:
        yield Register("pit", 32, "system", _pit, _put_pit)
    else:
        yield Register("dec", 32, "system", lambda m: m.cpu.decrementer, _put_decrementer)
    yield Register("pvr", 32, "system", lambda m: m.cpu.block.get("pvr"), None)
    for spr in SPRS:
        if spr.name not in seen and spr.state and spr.belongs(model.features):
            seen.add(spr.name)
            yield _element(spr.name.lower(), 32, "system", *spr.state)


@lru_cache(maxsize=16)
def registers(model: CpuModel) -> dict[str, Register]:
    """Every register of a part, by name: GPRs, what branches use, FPRs, vectors, the system's."""
    found = [_element(f"r{n}", 32, "general", "gpr", n) for n in range(32)]
    found += [
        _element("pc", 32, "general", "nia"),
        _element("msr", 32, "system", "msr"),
        Register("cr", 32, "general", lambda m: m.cpu.block.cr, _put_cr),
        _element("lr", 32, "general", "lr"),
        _element("ctr", 32, "general", "ctr"),
        Register("xer", 32, "general", lambda m: m.cpu.block.xer, _put_xer),
    ]
    if not has(model.features, EMBEDDED):
        found += [_element(f"f{n}", 64, "float", "fpr", n) for n in range(32)]
        found.append(_element("fpscr", 32, "float", "fpscr"))
    if has(model.features, ALTIVEC):
        found += [_element(f"vr{n}", 128, "vector", "vr", n) for n in range(32)]
        found += [_element(name, 32, "vector", name) for name in ("vscr", "vrsave")]
    found += _system(model)
    return {r.name: r for r in found}
