"""Text for hand-written LLVM functions: fields of the context, registers, handlers, tail calls.

A `Text` is what depends on the width of the model's word; the files `runtime_*` are functions that
take one.
"""

from __future__ import annotations

from itertools import count
from typing import Final

from gossamer.base.data import Data
from gossamer.engine.addresses import Addresses
from gossamer.engine.emit import CHAIN, TB_CPU, TB_ENTRY

#: Parameters of every handler.
SIGNATURE: Final = "(ptr %cpu, ptr %e, i64 %K)"

_numbers = count()


class Text(Data):
    """Pieces of text for words of one width."""

    addresses: Addresses

    @property
    def ea(self) -> str:
        """LLVM's type of an effective address, a word."""
        return self.addresses.type

    @property
    def ra(self) -> str:
        """LLVM's type of a real address."""
        return self.addresses.real

    @property
    def x(self) -> str:
        """LLVM's type of an outcome of `translation_functions`: flags above a real address."""
        return self.addresses.outcome

    @property
    def up(self) -> int:
        """How far up in an outcome its flags lie."""
        return int(self.ra[1:])

    @property
    def addend(self) -> int:
        """Where a line of a TLB has what is added: the host's address, or the entries'."""
        return self.addresses.line.addend

    def offset_of(self, name: str) -> int:
        """Where a field of the context, or the first element of a register, lies."""
        fields = self.addresses.fields
        return fields[name] if name in fields else self.addresses.layout.offset[name]

    def field(self, name: str, result: str, kind: str) -> str:
        """Two lines that load a context field or register into %result."""
        return (
            f"  %{result}.p = getelementptr i8, ptr %cpu, i64 {self.offset_of(name)}\n"
            f"  %{result} = load {kind}, ptr %{result}.p{TB_CPU}"
        )

    def store(self, name: str, kind: str, value: str) -> str:
        """Two lines that store a value into a context field or register."""
        p = f"%s{next(_numbers)}"
        return (
            f"  {p} = getelementptr i8, ptr %cpu, i64 {self.offset_of(name)}\n"
            f"  store {kind} {value}, ptr {p}{TB_CPU}"
        )

    def line_offset(self, result: str, ea: str, entries: int) -> str:
        """Three lines that give where a table of so many lines has the page of an address."""
        words = self.addresses
        return (
            f"  %a = lshr {self.ea} %{ea}, {words.line_shift}\n"
            f"  %b = and {self.ea} %a, {words.lines(entries)}\n" + self.wide(result, "b")
        )

    def next_page(self, result: str, page: str) -> str:
        """Lines that give the address of the page that follows."""
        if self.ea == "i32":
            return f"  %{result} = add i32 %{page}, 4096"
        return f"  %{result}.far = add i64 %{page}, 4096\n" + self.in_mode(result, f"{result}.far")

    def in_mode(self, result: str, word: str) -> str:
        """Lines that give a word without what 32-bit mode leaves out; words of 64 bits."""
        mode = self.field("mode", f"{result}.mode", "i64")
        return f"{mode}\n  %{result} = and i64 %{word}, %{result}.mode"

    def last(self, ea: str, size: str, result: str = "last") -> str:
        """Lines that give the last of so many bytes (32 bits) from an address on."""
        less = f"  %s1 = sub i32 %{size}, 1\n"
        if self.ea == "i32":
            return less + f"  %{result} = add i32 %{ea}, %s1"
        wide = f"  %s1.w = zext i32 %s1 to i64\n  %{result}.far = add i64 %{ea}, %s1.w\n"
        return less + wide + self.in_mode(result, f"{result}.far")

    # Lines that convert.  Where nothing has to be, the result is the same value under its new name.

    def wide(self, result: str, word: str) -> str:
        """A line that makes 64 bits of a word."""
        if self.ea == "i64":
            return f"  %{result} = add i64 %{word}, 0"
        return f"  %{result} = zext {self.ea} %{word} to i64"

    def cut(self, result: str, number: str) -> str:
        """A line that makes a word of 64 bits."""
        if self.ea == "i64":
            return f"  %{result} = add i64 %{number}, 0"
        return f"  %{result} = trunc i64 %{number} to {self.ea}"

    # Lines that words of 32 bits do without: the value is called %name then, %name.w where not.

    def grow(self, name: str) -> str:
        """A line that makes a word of 32 bits."""
        return f"  %{name}.w = zext i32 %{name} to {self.ea}" if self.ea == "i64" else ""

    def shrink(self, name: str) -> str:
        """A line that makes 32 bits of a word: the low ones."""
        return f"  %{name}.w = trunc {self.ea} %{name} to i32" if self.ea == "i64" else ""

    def as_(self, name: str) -> str:
        """What `grow` or `shrink` made."""
        return f"%{name}.w" if self.ea == "i64" else f"%{name}"


def handler(name: str, linkage: str = "internal ") -> str:
    """The head of a handler, up to the opening brace."""
    return f"define {linkage}{CHAIN} void @{name}{SIGNATURE} nounwind {{"


def tail(name: str, entry: str = "%e", k: str = "%K") -> str:
    """Two lines that end a handler by going on in another."""
    return f"  musttail call {CHAIN} void @{name}(ptr %cpu, ptr {entry}, i64 {k})\n  ret void"


def dispatch(entry: str, k: str = "%K") -> str:
    """Three lines that end a handler by executing `entry`."""
    h = f"%h{next(_numbers)}"
    return (
        f"  {h} = load ptr, ptr {entry}{TB_ENTRY}\n"
        f"  musttail call {CHAIN} void {h}(ptr %cpu, ptr {entry}, i64 {k})\n  ret void"
    )
