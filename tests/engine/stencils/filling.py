"""What copied code has to be, worked out in Python: for comparing with `stencils.copying`.

Sources: as of `engine.stencils.hosts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.engine.stencils.holes import expr_of
from gossamer.engine.stencils.hosts import Fill
from gossamer.engine.stencils.reading import Mark, Stencil
from gossamer.isa.expr import Expr
from gossamer.isa.ops import OPS

NOP: Final = 0xD503_201F


def value_of(e: Expr, word: int, place: int) -> int:
    """The value of a hole for `word` at `place` bytes of its page."""
    if e.is_const:
        return int(e.arg)
    if not e.args:
        return {"word": word, "place": place}[e.op]
    values = [value_of(a, word, place) for a in e.args]
    return OPS[e.op](e.width, [a.width for a in e.args], values)


def code_of(s: Stencil, word: int, place: int, here: int, lead: Callable[[str], int]) -> bytes:
    """The code of a stencil at address `here`; `lead` gives what a name stands for."""
    code = bytearray(s.code)
    for m in s.marks:
        size = 1 if m.fill == Fill.BYTE else 4
        old = int.from_bytes(code[m.offset : m.offset + size], "little")
        if m.fill < Fill.RELATIVE:
            new = filled(m.fill, old, value_of(expr_of(m.name), word, place) + m.addend)
        else:
            new = _led(m, old, lead(m.name) + m.addend, here + m.offset)
        code[m.offset : m.offset + size] = (new & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(code)


def filled(fill: int, old: int, value: int) -> int:
    """The instruction `old`, or what lies in its place, holding a value."""
    high, register = value >> 16, old & 31
    if fill in (Fill.BYTES, Fill.BYTE):
        return value
    if fill == Fill.LOW_HALF:
        return (0xF280_0000 if high else 0xD280_0000) | (value & 0xFFFF) << 5 | register
    assert fill == Fill.HIGH_HALF
    if high == 0:
        return NOP
    movn, movz = 0x92A0_0000, 0xD2A0_0000
    return (movn | ~high << 5 if high < 0 else movz | high << 5) | register


def _led(m: Mark, old: int, to: int, here: int) -> int:
    if m.fill == Fill.RELATIVE:
        return to - here
    if m.fill == Fill.BRANCH:
        return old & 0xFC00_0000 | (to - here >> 2) & 0x03FF_FFFF
    if m.fill == Fill.PAGE:
        pages = (to >> 12) - (here >> 12)
        return old & 0x9F00_001F | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    return old & 0xFFC0_03FF | (to & 0xFFF) >> m.fill - Fill.LOW_12 << 10
