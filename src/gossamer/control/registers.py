"""A machine's registers by name, to be read and written from outside: debuggers, Python.

Each stands here once, under the name that the books give it, in lower case.  Reading changes
nothing.  A write is made between two instructions; what hangs on the register (translations, the
decrementer's alarm, breakpoints) follows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, Protocol

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.cpu_405 import Cpu405
from gossamer.cpu.model import CpuModel
from gossamer.engine.processor import Processor
from gossamer.engine.tier0 import Tier0
from gossamer.isa.registers import registers as block_registers
from gossamer.isa.spec.parts import ALTIVEC, EMBEDDED, has
from gossamer.isa.spec.spr import SPRS
from gossamer.isa.spec.wide.vsx import VSX
from gossamer.machines.machine import Machine


class Place(Protocol):
    """Whose registers are meant: a machine (its first CPU), or one of its CPUs (`at`)."""

    @property
    def cpu(self) -> Cpu: ...
    @property
    def engine(self) -> Tier0: ...
    @property
    def processor(self) -> Processor: ...


class At(Data):
    """CPU number `number` of a machine."""

    machine: Machine
    number: int

    @property
    def cpu(self) -> Cpu:
        return self.machine.cpus[self.number]

    @property
    def engine(self) -> Tier0:
        return self.machine.engines[self.number]

    @property
    def processor(self) -> Processor:
        return self.machine.processor


Get = Callable[[Place], int]
Put = Callable[[Place, int], None]
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


def _settle(m: Place) -> None:
    """Registers that translation or breakpoints depend on may have been written."""
    m.engine.flush()
    m.processor.breakpoints_changed()
    m.cpu.registers_written()


def _element(name: str, group: str, register: str, n: int = 0, *, word: int = 32) -> Register:
    """Element `n` of a register of the block."""

    def put(m: Place, value: int) -> None:
        m.cpu.block.set(register, value, n)
        if group == "system":
            _settle(m)

    bits = block_registers(word)[register][0]
    return Register(name, bits, group, lambda m: m.cpu.block.get(register, n), put)


def _put_cr(m: Place, value: int) -> None:
    m.cpu.block.cr = value


def _put_xer(m: Place, value: int) -> None:
    m.cpu.block.xer = value


def _put_decrementer(m: Place, value: int) -> None:
    m.cpu.set_decrementer(value)


def _put_timebase(m: Place, value: int) -> None:
    m.cpu.block.set("tb_offset", value - m.cpu.ticks & ones(64))


def _pit(m: Place) -> int:
    assert isinstance(m.cpu, Cpu405)
    return m.cpu.pit_value


def _put_pit(m: Place, value: int) -> None:
    assert isinstance(m.cpu, Cpu405)
    m.cpu.set_pit(value)


def _system(model: CpuModel) -> Iterator[Register]:
    seen = set(_SHOWN_ELSEWHERE)
    embedded, word = has(model.features, EMBEDDED), model.architecture.word
    if not embedded and word == 32:
        for n in range(16):
            yield _element(f"sr{n}", "system", "sr", n)
    yield Register("tb", 64, "system", lambda m: m.cpu.timebase, _put_timebase)
    if embedded:
        yield Register("pit", 32, "system", _pit, _put_pit)
    else:
        yield Register("dec", 32, "system", lambda m: m.cpu.decrementer, _put_decrementer)
    yield Register("pvr", 32, "system", lambda m: m.cpu.block.get("pvr"), None)
    for spr in SPRS:
        if spr.name not in seen and spr.state and spr.belongs(model.features, word):
            seen.add(spr.name)
            name = spr.name.lower().removesuffix("_64")
            yield _element(name, "system", *spr.state, word=word)


@lru_cache(maxsize=16)
def registers(model: CpuModel) -> dict[str, Register]:
    """Every register of a part, by name: GPRs, what branches use, FPRs, vectors, the system's."""
    word = model.architecture.word
    found = [_element(f"r{n}", "general", "gpr", n, word=word) for n in range(32)]
    found += [
        _element("pc", "general", "nia", word=word),
        _element("msr", "system", "msr", word=word),
        Register("cr", 32, "general", lambda m: m.cpu.block.cr, _put_cr),
        _element("lr", "general", "lr", word=word),
        _element("ctr", "general", "ctr", word=word),
        Register("xer", 32, "general", lambda m: m.cpu.block.xer, _put_xer),
    ]
    if not has(model.features, EMBEDDED):
        found += [_element(f"f{n}", "float", "fpr", n) for n in range(32)]
        found.append(_element("fpscr", "float", "fpscr", word=word))
    if has(model.features, ALTIVEC):
        found += [_element(f"vr{n}", "vector", "vr", n) for n in range(32)]
        found += [_element(name, "vector", name) for name in ("vscr", "vrsave")]
    if word == 64 and has(model.features, VSX):
        found += [_element(f"vs{n}h", "vector", "vsl", n, word=word) for n in range(32)]
    found += _system(model)
    return {r.name: r for r in found}


def named(name: str, cpu: int) -> str:
    """What a register of a CPU is called in its machine: ``r3``, of the second CPU ``cpu1.r3``."""
    return f"cpu{cpu}.{name}" if cpu else name


def find(m: Machine, name: str) -> tuple[Register, At]:
    """The register of such a name, and whose it is; KeyError."""
    of, _, plain = name.rpartition(".")
    number = of.removeprefix("cpu") if of else "0"
    if not number.isdecimal() or int(number) >= len(m.cpus):
        raise KeyError(name)
    return registers(m.cpu.model)[plain], At(m, int(number))
