"""A look inside a machine that changes nothing: registers, lines, trees, memory, as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.shapes import Size
from gossamer.core.memory import RamBlock
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.cpu_405 import Cpu405
from gossamer.engine.translate import probe
from gossamer.isa.registers import registers as block_registers
from gossamer.machines.drives_attach import ChipDrive, chip_drives
from gossamer.machines.machine import Machine, Part
from gossamer.state.declare import ChildState, State, Stateful


def register(m: Machine, name: str, number: int = 0) -> int:
    """A register by the books' name in lower case (``r3``, ``f1``, ``sprg0``, ``pc``, ``cr``).

    Of CPU number `number`, as everywhere here.
    """
    cpu = m.cpus[number]
    block = cpu.block
    special = {
        "pc": lambda: block.get("nia"),
        "nip": lambda: block.get("nia"),
        "cr": lambda: block.cr,
        "xer": lambda: block.xer,
        "dec": lambda: cpu.decrementer,
        "tb": lambda: cpu.timebase,
        "tbl": lambda: cpu.timebase & 0xFFFF_FFFF,
        "tbu": lambda: cpu.timebase >> 32,
    }
    if isinstance(cpu, Cpu405):
        embedded = cpu
        del special["dec"]
        special["pit"] = lambda: embedded.pit_value
    if name in special:
        return special[name]()
    stem = name.rstrip("0123456789")
    index = name[len(stem) :]
    file = {"r": "gpr", "f": "fpr", "v": "vr"}.get(stem, stem)
    there = block_registers(m.word)
    if name in there and there[name][1] == 1:
        return block.get(name)
    if index and file in there and int(index) < there[file][1]:
        return block.get(file, int(index))
    raise KeyError(name)


def architecture(m: Machine) -> str:
    """QEMU's name of the architecture: that of its program which has such machines alone."""
    return "ppc64" if m.word == 64 else "ppc"


class EmbeddedRegisters(Data):
    """What a 405 has beside; `pit` is what a read of PIT gives."""

    dbsr: int
    pit: int
    tcr: int
    tsr: int
    esr: int
    dear: int
    evpr: int
    srr2: int
    srr3: int
    pid: int


class Registers(Data):
    """The CPU's registers; `reserved` is the address that lwarx has reserved."""

    nip: int
    lr: int
    ctr: int
    xer: int
    msr: int
    hid0: int
    cr: int
    fpscr: int
    tb: Size
    dec: int
    instructions: int
    gpr: tuple[int, ...]
    fpr: tuple[Size, ...]
    srr0: int
    srr1: int
    pvr: int
    sprg: tuple[int, ...]
    sdr1: int
    dar: int
    dsisr: int
    sr: tuple[int, ...]
    ibat: tuple[int, ...]
    dbat: tuple[int, ...]
    reserved: int | None = None
    embedded: EmbeddedRegisters | None = None
    cpu_index: int = 0


def registers(m: Machine, number: int = 0) -> Registers:
    cpu = m.cpus[number]
    b = cpu.block
    plain = ("lr", "ctr", "msr", "hid0", "fpscr", "srr0", "srr1", "pvr", "sdr1", "dar", "dsisr")
    files = ("gpr", "fpr", "sprg", "sr", "ibat", "dbat")
    values: dict[str, Any] = {name: b.get(name) for name in plain}
    values |= {name: tuple(b.all(name)) for name in files}
    return Registers(
        nip=b.get("nia"),
        xer=b.xer,
        cr=b.cr,
        tb=Size(cpu.timebase),
        dec=cpu.decrementer,
        instructions=m.engine.count,
        reserved=b.get("reserve_ea") if b.get("reserved") else None,
        embedded=_embedded(cpu),
        cpu_index=number,
        **values,
    )


def _embedded(cpu: Cpu) -> EmbeddedRegisters | None:
    if not isinstance(cpu, Cpu405):
        return None
    names = ("dbsr", "tcr", "tsr", "esr", "dear", "evpr", "srr2", "srr3", "pid")
    return EmbeddedRegisters(pit=cpu.pit_value, **{name: cpu.block.get(name) for name in names})


class ChipState(Data):
    """A chip's declared state: names as ``pics[0].levels``, values as numbers or text."""

    path: str
    names: tuple[str, ...]
    values: tuple[object, ...]


def pics(m: Machine) -> tuple[ChipState, ...]:
    """The interrupt controllers."""
    return tuple(chip_state(p) for p in m.parts if p.path in m.kind.pics)


def chip_state(part: Part) -> ChipState:
    found = list(_fields(part.device, ""))
    return ChipState(part.path, tuple(n for n, _ in found), tuple(v for _, v in found))


def _fields(owner: Stateful, where: str) -> Iterator[tuple[str, object]]:
    for d in owner.declared.values():
        if isinstance(d, ChildState):
            for n, one in enumerate(d.objects(owner)):
                yield from _fields(one, f"{where}{d.name}[{n}].")
        elif isinstance(d, State):
            value = d.value(owner)
            yield where + d.name, value if isinstance(value, int) else repr(value)


class IrqLevel(Data):
    """An interrupt input or pending exception of the CPU."""

    name: str
    level: int


def irqs(m: Machine) -> tuple[IrqLevel, ...]:
    levels = m.cpu.block.all("irq")
    return tuple(IrqLevel(i.name.lower(), levels[i]) for i in m.cpu.SOURCES)


class Chip(Data):
    """A chip in its place; `section` of the stream with its version, `device` QEMU's name."""

    path: str
    type: str
    section: str | None = None
    version: int | None = None
    device: str | None = None
    drives: tuple[ChipDrive, ...] | None = None


class Tree(Data):
    """The chips in the order of the composition; `loaders`: what -device loader put in memory."""

    chips: tuple[Chip, ...]
    loaders: tuple[str, ...]


def tree(m: Machine) -> Tree:
    chips = tuple(
        Chip(
            p.path,
            type(p.device).__name__,
            p.title if p.idstr else None,
            p.device.version if p.idstr else None,
            p.known_as or None,
            tuple(chip_drives(m, p.path)) or None,
        )
        for p in m.parts
    )
    return Tree(chips, tuple(d.title for d in m.hardware.devices if d.driver == "loader"))


class MemoryRange(Data):
    """Real addresses `start` to `end` (the last): ram, rom or i/o."""

    start: int
    end: int
    kind: str
    name: str


def memory_map(m: Machine) -> tuple[MemoryRange, ...]:
    """The map of real addresses."""
    return tuple(
        MemoryRange(start, end - 1, _kind(mapping.target), mapping.target.name)
        for start, end, mapping in m.memory.mappings
    )


def _kind(target: object) -> str:
    if not isinstance(target, RamBlock):
        return "i/o"
    return "rom" if target.read_only else "ram"


def instruction_text(word: int, ea: int) -> str:
    """The disassembly of `word` at `ea`."""
    from gossamer.isa.text import disassemble

    return disassemble(word, ea)


def read_virtual(m: Machine, ea: int, length: int, number: int = 0) -> bytes:
    """Bytes at an effective address with the CPU's present data translation."""
    out = b""
    while length:
        step = min(length, 4096 - ea % 4096)
        ra = real_address(m.cpus[number], m, ea)
        if ra is None:
            raise ConfigError(f"no translation for {ea:#010x}")
        out += m.memory.read(ra, step)
        ea, length = (ea + step) & ones(m.word), length - step
    return out


def real_address(cpu: Cpu, m: Machine, ea: int) -> int | None:
    """The real address of `ea` for a load, without touching R and C bits; None when it faults."""
    return probe(cpu.block, m.memory, cpu.model.architecture, ea)
