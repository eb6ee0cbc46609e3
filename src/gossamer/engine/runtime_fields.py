"""Text for reaching a field of the context or a register from hand-written LLVM functions."""

from __future__ import annotations

from itertools import count

from gossamer.cpu.block import OFFSET
from gossamer.engine.context import CONTEXT
from gossamer.engine.emit import TB_CPU

_numbers = count()


def field(name: str, result: str, kind: str) -> str:
    """Two lines that load a context field or register into %result."""
    at = CONTEXT[name] if name in CONTEXT else OFFSET[name]
    return (
        f"  %{result}.p = getelementptr i8, ptr %cpu, i64 {at}\n"
        f"  %{result} = load {kind}, ptr %{result}.p{TB_CPU}"
    )


def store(name: str, kind: str, value: str) -> str:
    at = CONTEXT[name] if name in CONTEXT else OFFSET[name]
    p = f"%s{next(_numbers)}"
    return f"  {p} = getelementptr i8, ptr %cpu, i64 {at}\n  store {kind} {value}, ptr {p}{TB_CPU}"
