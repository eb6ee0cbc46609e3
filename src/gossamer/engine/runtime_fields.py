"""Text for hand-written LLVM functions: fields of the context, registers, handlers, tail calls."""

from __future__ import annotations

from itertools import count
from typing import Final

from gossamer.cpu.block import OFFSET
from gossamer.engine.context import CONTEXT
from gossamer.engine.emit import CHAIN, TB_CPU, TB_ENTRY

#: Parameters of every handler.
SIGNATURE: Final = "(ptr %cpu, ptr %e, i64 %K)"

_numbers = count()


def offset_of(name: str) -> int:
    """Where a field of the context, or the first element of a register, lies."""
    return CONTEXT[name] if name in CONTEXT else OFFSET[name]


def field(name: str, result: str, kind: str) -> str:
    """Two lines that load a context field or register into %result."""
    return (
        f"  %{result}.p = getelementptr i8, ptr %cpu, i64 {offset_of(name)}\n"
        f"  %{result} = load {kind}, ptr %{result}.p{TB_CPU}"
    )


def store(name: str, kind: str, value: str) -> str:
    """Two lines that store a value into a context field or register."""
    p = f"%s{next(_numbers)}"
    return (
        f"  {p} = getelementptr i8, ptr %cpu, i64 {offset_of(name)}\n"
        f"  store {kind} {value}, ptr {p}{TB_CPU}"
    )


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
