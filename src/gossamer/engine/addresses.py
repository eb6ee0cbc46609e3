"""What native code depends on of the width of the model's word, said once.

Code that is made from bodies (`emit`, `statements`, `handlers`) and the runtime's hand-written text
(`runtime_*`, through `runtime_fields.Text`) ask an `Addresses` for the types of addresses, the
layout of registers, fields and lines of the TLBs.  Real addresses
(`RA`) have as many bits on every model.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import REAL_BITS
from gossamer.cpu.block import Layout, layout
from gossamer.engine.context import Line, Tables, fields_of, line_of, tables_of
from gossamer.isa.architecture import USUAL, Architecture

_PAGE_SHIFT: Final = PAGE_SIZE.bit_length() - 1


class Addresses(Data):
    """Native code's view of words of `width` bits; `orders`: MSR[LE] chooses that of bytes."""

    __slots__ = ("__dict__",)

    width: int
    orders: bool = False

    @property
    def type(self) -> str:
        """LLVM's type of a word and of an effective address."""
        return f"i{self.width}"

    @property
    def real(self) -> str:
        """LLVM's type of a real address."""
        return self.type

    @property
    def outcome(self) -> str:
        """LLVM's type of a translation's outcome: a real address, 32 flags above."""
        return "i64" if self.width == USUAL else "i128"

    @cached_property
    def layout(self) -> Layout:
        """Where registers lie."""
        return layout(self.width)

    @cached_property
    def fields(self) -> dict[str, int]:
        """Where the context's fields lie."""
        return fields_of(self.width)[0]

    @cached_property
    def line(self) -> Line:
        """A line of a TLB."""
        return line_of(self.width)

    @cached_property
    def tables(self) -> Tables:
        """How many bytes tables of translations have."""
        return tables_of(self.width)

    @property
    def context_size(self) -> int:
        """Bytes of the register block and the context."""
        return fields_of(self.width)[1]

    @property
    def line_log(self) -> int:
        """log2 of a line's bytes."""
        return self.line.size.bit_length() - 1

    @property
    def line_shift(self) -> int:
        """Bits by which an effective address goes right to count lines in bytes, page by page."""
        return _PAGE_SHIFT - self.line_log

    def lines(self, entries: int) -> int:
        """The bits that then distinguish the `entries` lines of a table."""
        return (entries - 1) * self.line.size


@lru_cache(maxsize=4)
def addresses(width: int, orders: bool = False) -> Addresses:
    """The one `Addresses` for words of `width` bits."""
    return Addresses(width, orders)


def addresses_of(architecture: Architecture) -> Addresses:
    """What native code for a model has to know."""
    return addresses(architecture.word, architecture.both_orders)


#: Those of 32-bit models; LLVM's type of a real address.
NARROW: Final = addresses(USUAL)
RA: Final = f"i{REAL_BITS}"
