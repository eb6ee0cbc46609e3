"""``-device loader``: files and numbers put into memory, and the CPU's first instruction.

As QEMU's generic loader: at power on and again at each reset, after the machine's own.  An ELF
program goes where its headers say, anything else to ``addr``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.core.memory import RamBlock
from gossamer.machines import firmware
from gossamer.machines.config import Added
from gossamer.machines.firmware import Segment
from gossamer.machines.machine import Machine

_ELF: Final = b"\x7fELF"
_U_BOOT: Final = b"\x27\x05\x19\x56"
_INTEL_HEX: Final = re.compile(rb"(?::[0-9A-Fa-f]{10,}\s*)+\Z")


def add_loader(m: Machine, added: Added) -> None:
    """Do it now, and at each reset."""
    action = _action(m, added)
    action()
    m.at_reset.append(action)


def _action(m: Machine, added: Added) -> Callable[[], None]:
    file, cpu = added.text("file"), added.optional("cpu-num")
    size, data, big = added.number("data-len"), added.number("data"), bool(added.values["data-be"])
    where = added.where
    if cpu:
        raise ConfigError(f"{where}: cpu-num: the machines here have one CPU, 0, got {cpu}")
    if size or data or big:
        if file or added.values["force-raw"]:
            raise ConfigError(f"{where}: a file and data exclude each other")
        return _data(m, added, size)
    if file:
        return _file(m, added, Path(file), sets_pc=cpu is not None)
    if added.values["force-raw"]:
        raise ConfigError(f"{where}: force-raw needs file=")
    if not added.number("addr"):
        raise ConfigError(f"{where}: give file=, or data= and data-len=, or addr= and cpu-num=0")
    if cpu is None:
        raise ConfigError(f"{where}: addr= alone is a PC, which needs cpu-num=0")
    return _pc(m, added, added.number("addr"))


def _data(m: Machine, added: Added, size: int) -> Callable[[], None]:
    """The first `size` bytes of the 64-bit number, in either order, as QEMU has it."""
    if not size:
        raise ConfigError(f"{added.where}: data needs data-len=")
    value = added.number("data")
    number = value.to_bytes(8, "big") if added.values["data-be"] else value.to_bytes(8, "little")
    segment = Segment(added.number("addr"), number[:size])
    _check(m, added, [segment])
    return lambda: m.memory.write(segment.ra, segment.data)


def _file(m: Machine, added: Added, path: Path, *, sets_pc: bool) -> Callable[[], None]:
    at = added.number("addr")

    def read() -> tuple[int, tuple[Segment, ...]]:
        content = firmware.read_file(path)
        if not added.values["force-raw"]:
            if content[:4] == _ELF:
                image = firmware.parse_elf(path, content)
                return image.entry, image.segments
            if content[:4] == _U_BOOT:
                raise ConfigError(f"{added.where}: {path} is a U-Boot image; force-raw=on loads it")
            if content[:1] == b":" and _INTEL_HEX.match(content):
                raise ConfigError(
                    f"{added.where}: {path} is Intel HEX; make it raw, or force-raw=on"
                )
        return at, (Segment(at, content),)

    entry, segments = read()
    # A linker puts notes that are never loaded far from the program: QEMU lets them go, too.
    lost = [s for s in segments if m.memory.find(s.ra) is None]
    for s in lost if len(lost) < len(segments) else ():
        m.trace.event("loader", f"{path}: nothing at {s.ra:#x}, {len(s.data)} bytes are left out")
        segments = tuple(one for one in segments if one is not s)
    _check(m, added, list(segments))
    _apart(m, added, segments)
    set_pc = _pc(m, added, entry) if sets_pc else None

    def load() -> None:
        _, pieces = read()
        for s in pieces:
            m.memory.write(s.ra, s.data)  # where no RAM is, nothing changes
        if set_pc is not None:
            set_pc()

    return load


def _pc(m: Machine, added: Added, address: int) -> Callable[[], None]:
    if address >= 1 << 32 or address % 4:
        expected = "a PC is a multiple of 4 below 2**32"
        raise ConfigError(f"{added.where}: {expected}, got {address:#x}")
    return lambda: m.cpu.block.set("nia", address)


def _check(m: Machine, added: Added, segments: list[Segment]) -> None:
    """Everything goes to memory that the machine has."""
    for s in segments:
        ra, end = s.ra, s.ra + len(s.data)
        while ra < end:
            found = m.memory.find(ra)
            target = None if found is None else found[2].target
            if found is None or not isinstance(target, RamBlock) or target.read_only:
                raise ConfigError(f"{added.where}: {s.ra:#x}..{end:#x} is not all RAM")
            ra = found[1]


def _apart(m: Machine, added: Added, segments: tuple[Segment, ...]) -> None:
    """Files do not lie over each other."""
    for s in segments:
        for start, end, other in m.loaded:
            if s.ra < end and start < s.ra + len(s.data):
                raise ConfigError(
                    f"{added.where}: {s.ra:#x}..{s.ra + len(s.data):#x} overlaps {other}"
                )
    m.loaded += [(s.ra, s.ra + len(s.data), added.text("file")) for s in segments]
