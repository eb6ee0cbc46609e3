"""A machine's registers and RAM as an ELF core file: 32-bit PowerPC, big-endian.

Source: System V ABI, PowerPC supplement; the register note is Linux's elf_prstatus, as gdb reads
it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from gossamer.core.memory import RamBlock
from gossamer.machines.machine import Machine

_EHDR: Final = struct.Struct(">16sHHIIIIIHHHHHH")
_PHDR: Final = struct.Struct(">IIIIIIII")
_NOTE: Final = struct.Struct(">III")
_IDENT: Final = b"\x7fELF\x01\x02\x01" + bytes(9)
_CORE, _PPC, _LOAD, _NOTES = 4, 20, 1, 4
_PRSTATUS: Final = 1
_FPREGS: Final = 2
_STATUS_SIZE: Final = 268
_STATUS_REGS: Final = 72
"""Offset of the registers in elf_prstatus of 32-bit PowerPC."""
_PIECE: Final = 1 << 20


class Core:
    """The core of a machine that stands still; `span`: only real addresses from, to."""

    def __init__(self, m: Machine, span: tuple[int, int] | None = None) -> None:
        self._machine = m
        self._areas = list(_areas(m, span))
        #: Bytes of RAM.
        self.size = sum(end - start for start, end in self._areas)

    def head(self) -> bytes:
        """What comes before the RAM."""
        notes = _notes(self._machine)
        count = 1 + len(self._areas)
        place = _EHDR.size + count * _PHDR.size
        parts = [
            _EHDR.pack(_IDENT, _CORE, _PPC, 1, 0, _EHDR.size, 0, 0, _EHDR.size, _PHDR.size,
                       count, 0, 0, 0),
            _PHDR.pack(_NOTES, place, 0, 0, len(notes), 0, 0, 0),
        ]  # fmt: skip
        place += len(notes)
        for start, end in self._areas:
            parts.append(_PHDR.pack(_LOAD, place, start, start, end - start, end - start, 7, 0))
            place += end - start
        return b"".join((*parts, notes))

    def memory(self) -> Iterator[bytes]:
        """The RAM, in pieces."""
        for start, end in self._areas:
            for at in range(start, end, _PIECE):
                yield self._machine.memory.read(at, min(_PIECE, end - at))


def _areas(m: Machine, span: tuple[int, int] | None) -> list[tuple[int, int]]:
    """RAM by real address."""
    found = []
    low, high = span or (0, 1 << 32)
    for start, end, mapping in m.memory.mappings:
        if isinstance(mapping.target, RamBlock) and not mapping.target.read_only:
            start, end = max(start, low), min(end, high)
            if start < end:
                found.append((start, end))
    return found


def _notes(m: Machine) -> bytes:
    b = m.cpu.block
    regs = [*b.all("gpr"), b.get("nia"), b.get("msr"), 0, b.get("ctr"), b.get("lr"), b.xer, b.cr]
    status = bytearray(_STATUS_SIZE)
    packed = struct.pack(f">{len(regs)}I", *regs)
    status[_STATUS_REGS : _STATUS_REGS + len(packed)] = packed
    floats = struct.pack(">33Q", *b.all("fpr"), b.get("fpscr"))
    return _note(_PRSTATUS, bytes(status)) + _note(_FPREGS, floats)


def _note(kind: int, data: bytes) -> bytes:
    name = b"CORE\0\0\0\0"
    return _NOTE.pack(5, len(data), kind) + name + data + bytes(-len(data) % 4)
