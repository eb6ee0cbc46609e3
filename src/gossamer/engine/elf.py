"""Loading LLVM's object files: sections into the arena, relocations, stubs to far functions.

Sources: System V ABI, AMD64 supplement, 4.4 (R_X86_64); ELF for the Arm 64-bit architecture
(AArch64), 5.7 (R_AARCH64).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gossamer.base.data import Data
from gossamer.base.errors import GossamerError
from gossamer.base.units import MiB
from gossamer.engine.arena import CodeArena

_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_ALLOC: Final = 2
X86_64, AARCH64 = 62, 183
_HEADER: Final = 64
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
#: Bytes of the arena in which AArch64's branches, of 128 MiB, find the same stubs.
REACH: Final = 64 * MiB
#: Bytes of a jump to a function that may be far away, and how it is aligned.
_STUB: Final = 16
_RELOCATION: Final = struct.Struct("<QQq")


class LoadError(GossamerError):
    """An object file that this loader does not understand."""


class Section(Data):
    """A row of the section table."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class Symbol(NamedTuple):
    """A symbol: `value` is an offset in its section."""

    name: str
    kind: int
    section: int
    value: int
    size: int


class Loader:
    """Puts objects into an arena; `functions` are the addresses of what they may call."""

    def __init__(self, arena: CodeArena, functions: Mapping[str, int]) -> None:
        self.arena, self.functions = arena, functions
        self._stubs: dict[tuple[str, int], int] = {}

    def clear(self) -> None:
        """Forget everything loaded."""
        self._stubs.clear()
        self.arena.clear()

    def load(self, obj: bytes) -> dict[str, int] | None:
        """Addresses of the object's symbols by name; None when the arena is full."""
        return _Loading(self, obj).load()

    def stub(self, name: str, machine: int) -> int | None:
        """Offset of a jump to a function that may be far away; None when the arena is full.

        It is in reach of what is put into the arena next.
        """
        key = name, 0 if machine == X86_64 else self.arena.used // REACH
        found = self._stubs.get(key)
        if found is None:
            stubs = self.stubs([name], machine)
            if stubs is None:
                return None
            (found,) = stubs
            self._stubs[key] = found
        return found

    def stubs(self, names: Sequence[str], machine: int) -> list[int] | None:
        """The same for many functions, one behind the other; None when the arena is full."""
        # jmp [rip + 0] | ldr x16, 8; br x16 (x16: for linkers)
        jump = b"\xff\x25\0\0\0\0" if machine == X86_64 else b"\x50\0\0\x58\0\x02\x1f\xd6"
        shape = struct.Struct(f"<{len(jump)}sQ{_STUB - len(jump) - 8}x")
        first = self.arena.reserve(len(names) * _STUB, _STUB)
        if first is None:
            return None
        addresses = (self.functions.get(name) or _of_process(name) for name in names)
        self.arena.put(first, b"".join(shape.pack(jump, address) for address in addresses))
        return list(range(first, first + len(names) * _STUB, _STUB))


def _of_process(name: str) -> int:
    """Address of a function of the C library, of those that LLVM calls by itself."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError:
        raise LoadError(f"object: calls {name}, which nothing here has") from None
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Relocation(NamedTuple):
    """What a place of a section has to be made: `offset` in it, the number of a symbol."""

    offset: int
    kind: int
    symbol: int
    addend: int


class Object:
    """One object file."""

    def __init__(self, obj: bytes) -> None:
        self.obj = obj
        if obj[:6] != b"\x7fELF\x02\x01" or len(obj) < _HEADER:
            raise LoadError("object: expected a little-endian 64-bit ELF object")
        (self.machine,) = struct.unpack_from("<H", obj, 18)
        if self.machine not in (X86_64, AARCH64):
            raise LoadError(f"object: expected x86-64 or AArch64, got ELF machine {self.machine}")
        (start,) = struct.unpack_from("<Q", obj, 40)
        (count,) = struct.unpack_from("<H", obj, 60)
        self.sections = [
            Section(*_SECTION.unpack_from(obj, start + n * _SECTION.size)) for n in range(count)
        ]
        self.symbols: list[Symbol] = []
        self._read_symbols()

    def _read_symbols(self) -> None:
        for table in self.sections:
            if table.type != _SYMTAB:
                continue
            names = self.sections[table.link]
            strings = self.obj[names.offset : names.offset + names.size]
            for at in range(table.offset, table.offset + table.size, _SYMBOL.size):
                name, kind, _, section, value, size = _SYMBOL.unpack_from(self.obj, at)
                text = strings[name : strings.index(b"\0", name)].decode()
                self.symbols.append(Symbol(text, kind & 15, section, value, size))

    def relocations(self, section: int) -> Iterator[Relocation]:
        """Those of a section, by its number."""
        for s in self.sections:
            if s.type == _RELA and s.info == section:
                for at in range(s.offset, s.offset + s.size, _RELOCATION.size):
                    offset, info, addend = _RELOCATION.unpack_from(self.obj, at)
                    yield Relocation(offset, info & 0xFFFF_FFFF, info >> 32, addend)

    def content(self, section: int) -> bytes:
        """The bytes of a section, by its number."""
        s = self.sections[section]
        return self.obj[s.offset : s.offset + s.size] if s.type == _PROGBITS else bytes(s.size)


class _Loading(Object):
    """An object file while it is put into the arena."""

    def __init__(self, loader: Loader, obj: bytes) -> None:
        super().__init__(obj)
        self.loader, self.arena = loader, loader.arena
        self.places: dict[int, int] = {}

    def load(self) -> dict[str, int] | None:
        for n, s in enumerate(self.sections):
            if s.flags & _ALLOC and s.size and s.type in (_PROGBITS, _NOBITS):
                at = self.arena.reserve(s.size, max(s.alignment, 16))
                if at is None:
                    return None
                self.places[n] = at
                self.arena.put(at, self.content(n))
        for number, place in self.places.items():
            for r in self.relocations(number):
                if not self._relocate(place + r.offset, r.kind, r.symbol, r.addend):
                    return None
        return {
            s.name: self.arena.base + self.places[s.section] + s.value
            for s in self.symbols
            if s.name and s.section in self.places
        }

    def _target(self, number: int) -> int | None:
        """Offset in the arena of what a symbol stands for; None when the arena is full."""
        s = self.symbols[number]
        if s.section in self.places:
            return self.places[s.section] + s.value
        return self.loader.stub(s.name, self.machine)

    def _relocate(self, where: int, kind: int, symbol: int, addend: int) -> bool:
        target = self._target(symbol)
        if target is None:
            return False
        apply = KINDS[self.machine].get(kind)
        if apply is None:
            raise LoadError(f"object: relocation of kind {kind} is not known")
        size = 8 if apply is absolute64 else 4
        old = int.from_bytes(self.arena.get(where, size), "little")
        base = self.arena.base
        new = apply(old, base + target + addend, base + where)
        self.arena.put(where, new.to_bytes(size, "little"))
        return True


#: Makes the new content of a place from the old: (old, target + addend, address of the place).
Apply = Callable[[int, int, int], int]


def absolute64(old: int, target: int, place: int) -> int:
    """The only kind whose place has eight bytes; the others' have four."""
    return target & (1 << 64) - 1


def _relative32(old: int, target: int, place: int) -> int:
    return _fits(target - place, 32) & 0xFFFF_FFFF


def _branch26(old: int, target: int, place: int) -> int:
    return old & ~0x03FF_FFFF | _fits(target - place, 28) >> 2 & 0x03FF_FFFF


def _page21(old: int, target: int, place: int) -> int:
    pages = _fits((target >> 12) - (place >> 12), 21)
    return old & ~0x60FF_FFE0 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5


def _low12(shift: int) -> Apply:
    def apply(old: int, target: int, place: int) -> int:
        return old & ~0x003F_FC00 | (target & 0xFFF) >> shift << 10

    return apply


def _fits(value: int, width: int) -> int:
    if not -(1 << width - 1) <= value < 1 << width - 1:
        raise LoadError(f"object: a distance of {value} does not fit in {width} bits")
    return value


#: What each kind of relocation does, by machine.
KINDS: Final[Mapping[int, Mapping[int, Apply]]] = {
    X86_64: {1: absolute64, 2: _relative32, 4: _relative32},
    AARCH64: {
        257: absolute64,
        261: _relative32,
        275: _page21,
        277: _low12(0),  # ADD
        278: _low12(0),  # LDST8
        282: _branch26,
        283: _branch26,
        284: _low12(1),
        285: _low12(2),
        286: _low12(3),
        299: _low12(4),
    },
}
