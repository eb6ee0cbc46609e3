"""Registers as attributes, memory as slices."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Final

from gossamer.api.symbols import Symbols, address_of
from gossamer.base.errors import ConfigError
from gossamer.control.debugger import Debugger
from gossamer.control.registers import Register, registers
from gossamer.control.vm import Vm
from gossamer.core.memory import RamBlock
from gossamer.core.region import Region
from gossamer.machines.machine import Machine

Place = tuple[int, int, str]
_GRAIN: Final = 16
"""Cells of a region that is made of others lie so many bytes apart at the least."""


class Registers:
    """The CPU's registers: ``vm.regs.r3``, ``vm.regs["msr"]``, read and written."""

    _control: Vm

    def __init__(self, control: Vm) -> None:
        object.__setattr__(self, "_control", control)

    def _find(self, name: str) -> Register:
        known = registers(self._control.machine.cpu.model)
        found = known.get(name)
        if found is None:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AttributeError(f"no register {name!r}{hint}")
        return found

    def __getattr__(self, name: str) -> int:
        return self._find(name).get(self._control.machine)

    def __setattr__(self, name: str, value: int) -> None:
        register = self._find(name)
        if register.put is None:
            raise AttributeError(f"{name} cannot be written")
        if not isinstance(value, int) or not 0 <= value < 1 << register.bits:
            raise ConfigError(f"{name}: expected 0 to 2**{register.bits}-1, got {value!r}")
        self._control.put_register(name, value)

    def __getitem__(self, name: str) -> int:
        return getattr(self, name)  # type: ignore[no-any-return]

    def __setitem__(self, name: str, value: int) -> None:
        setattr(self, name, value)

    def __dir__(self) -> list[str]:
        return list(registers(self._control.machine.cpu.model))

    def __iter__(self) -> Iterator[str]:
        return iter(registers(self._control.machine.cpu.model))

    def __len__(self) -> int:
        return len(registers(self._control.machine.cpu.model))

    def __repr__(self) -> str:
        names = [f"r{n}" for n in range(32)] + ["pc", "msr", "cr", "lr", "ctr", "xer"]
        words = [f"{name:>4} {self[name]:08x}" for name in names]
        return "\n".join("  ".join(words[n : n + 4]) for n in range(0, len(words), 4))


class Memory:
    """RAM and ROM by effective address (or real, `physical`), as bytes.

    ``vm.memory[0x1000:0x1010]``, ``vm.memory["jiffies"]`` (a symbol's bytes), and the same to the
    left of ``=``.  Reading has no side effects; devices are not read: ConfigError.
    """

    def __init__(self, control: Vm, symbols: Symbols, *, physical: bool) -> None:
        self._control, self._symbols = control, symbols
        self._door = Debugger(control)
        self._door.physical = physical

    def _span(self, place: int | str | slice) -> tuple[int, int]:
        """First address and length."""
        if isinstance(place, str):
            address, size = self._symbols.place(place)
            return address, size or 4
        if isinstance(place, int):
            return address_of(self._symbols, place), 1
        if place.step not in (None, 1) or place.start is None or place.stop is None:
            raise ConfigError("memory: expected [START:END] or [ADDRESS]")
        start = address_of(self._symbols, place.start)
        if not start <= place.stop <= 1 << 32:
            raise ConfigError(f"memory: {place.stop:#x} is no end for what begins at {start:#x}")
        return start, place.stop - start

    def read(self, place: int | str, length: int) -> bytes:
        """`length` bytes; ConfigError where there are fewer."""
        start = address_of(self._symbols, place)
        if length < 0 or start + length > 1 << 32:
            raise ConfigError(f"memory: {length} bytes at {start:#010x} are outside 4 GiB")
        data = self._door.read(start, length) if length else b""
        if len(data) < length:
            raise ConfigError(f"nothing is mapped at {start + len(data):#010x}")
        return data

    def write(self, place: int | str, data: bytes) -> None:
        """Write all of it, or nothing: ConfigError."""
        self._door.write(address_of(self._symbols, place), data)

    def u8(self, place: int | str) -> int:
        """A byte."""
        return int.from_bytes(self.read(place, 1), "big")

    def u16(self, place: int | str) -> int:
        """A big-endian halfword."""
        return int.from_bytes(self.read(place, 2), "big")

    def u32(self, place: int | str) -> int:
        """A big-endian word."""
        return int.from_bytes(self.read(place, 4), "big")

    def u64(self, place: int | str) -> int:
        """A big-endian doubleword."""
        return int.from_bytes(self.read(place, 8), "big")

    def __getitem__(self, place: int | str | slice) -> bytes:
        return self.read(*self._span(place))

    def __setitem__(self, place: int | str | slice, data: bytes | int) -> None:
        start, length = self._span(place)
        raw = data.to_bytes(length, "big") if isinstance(data, int) else bytes(data)
        if len(raw) != length and not isinstance(place, int):
            raise ConfigError(f"memory: {length} bytes at {start:#010x}, got {len(raw)}")
        self._door.write(start, raw)


def regions(m: Machine) -> dict[str, range]:
    """Names and real addresses of what is mapped; a second one of a name gets a number."""
    found: dict[str, range] = {}
    for start, end, mapping in sorted(m.memory.mappings, key=lambda row: row[0]):
        for first, last, name in _within(mapping.target, mapping.base, start, end):
            n, label = 2, name
            while label in found:
                n, label = n + 1, f"{name}.{n}"
            found[label] = range(first, last)
    return found


def _within(target: Region | RamBlock, base: int, start: int, end: int) -> Iterator[Place]:
    if isinstance(target, RamBlock) or target.cell is None:
        yield start, end, target.name
        return
    at = start
    while at < end:
        cell = target.cell(at - base)
        if cell is None:
            at += _GRAIN
        else:
            last = min(end, base + cell[1])
            yield from _within(cell[2], base + cell[0], at, last)
            at = last
