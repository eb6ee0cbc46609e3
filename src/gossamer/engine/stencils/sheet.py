"""A sheet: the stencils of a unit as tables, with functions for what goes into their holes.

It is an object file that is kept and loaded as tier 0's is; that of the core has the function that
copies (`copying`), too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from gossamer.engine.addresses import addresses_of
from gossamer.engine.elf import Object
from gossamer.engine.emit import METADATA, Function
from gossamer.engine.llvm import compile_object
from gossamer.engine.statements import text_of
from gossamer.engine.stencils.copying import CHUNK, MARK, ROW, copying
from gossamer.engine.stencils.holes import PREFIX, expr_of
from gossamer.engine.stencils.reading import CONSTANTS, Mark, Reader
from gossamer.engine.stencils.text import stencils_text
from gossamer.isa.architecture import Architecture

#: How a function has what a hole's expression is made of.
_PARAMETERS: Final = {"word": lambda e: "%word", "place": lambda e: "%place"}


def sheet(architecture: Architecture, unit: int) -> bytes:
    """The object file of a unit's sheet."""
    obj = compile_object(stencils_text(architecture, unit), pic=False)
    return compile_object(sheet_text(architecture, unit, Object(obj)), quick=True)


def sheet_text(architecture: Architecture, unit: int, obj: Object) -> str:
    """LLVM text of the sheet of the stencils in an object file."""
    reader = Reader(obj)
    stencils = reader.stencils()
    holes = _Numbers()
    leads = _Numbers([CONSTANTS])
    rows, marks, code = bytearray(), bytearray(), bytearray()
    for s in stencils.values():
        first = len(marks) // MARK.size
        for m in s.marks:
            marks += _mark(m, holes if m.name.startswith(PREFIX) else leads)
        rows += ROW.pack(len(code), len(s.code), first, len(s.marks), s.goes_on)
        code += s.code
    intrinsics: set[str] = set()
    parts = [_value(n, name, intrinsics) for n, name in enumerate(holes)]
    values = ", ".join(f"ptr @value_{n}" for n in range(len(parts)))
    if unit == 0:
        parts.append(copying(addresses_of(architecture)))
    return "\n".join(
        [
            *sorted(intrinsics),
            f"@values = hidden constant [{len(holes.numbers)} x ptr] [ {values} ]",
            _bytes("names", _lines(stencils)),
            _bytes("leads", _lines(leads)),
            _bytes("sizes", struct.pack("<2I", len(reader.constants), obj.machine)),
            _bytes("constants", bytes(reader.constants)),
            _bytes("rows", bytes(rows)),
            _bytes("marks", bytes(marks)),
            _bytes("code", bytes(code) + bytes(CHUNK)),
            *parts,
            METADATA,
        ]
    )


class _Numbers:
    """Numbers of names, in the order in which they are asked for."""

    def __init__(self, first: Iterable[str] = ()) -> None:
        self.numbers = {name: n for n, name in enumerate(first)}

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def of(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


def _mark(m: Mark, numbers: _Numbers) -> bytes:
    return MARK.pack(m.offset, m.fill, numbers.of(m.name), m.addend)


def _lines(names: Iterable[str]) -> bytes:
    return "\n".join(names).encode() + b"\0"


def _bytes(name: str, data: bytes) -> str:
    text = "".join(f"\\{byte:02x}" for byte in data)
    return f'@{name} = hidden constant [{len(data)} x i8] c"{text}", align 16'


def _value(number: int, name: str, intrinsics: set[str]) -> str:
    """The function that gives the value of a hole for a word at a place of its page."""
    f = Function(intrinsics)
    f.leaves = dict(_PARAMETERS)
    e = expr_of(name)
    result = f.expr(e)
    if e.width < 64:
        result = f.value(f"zext i{e.width} {result} to i64")
    f.line(f"ret i64 {result}")
    return text_of(f, f"define internal i64 @value_{number}(i32 %word, i32 %place) nounwind {{")
