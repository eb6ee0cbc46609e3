"""Floating-point instructions as native code over arrays: what tier 0 runs, without the machine.

The body of an instruction is emitted as in a handler (fast side, and services for the rest); its
FRT, FPSCR, trap and CR field are stored instead of committed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gossamer.engine.build import Native
from gossamer.engine.emit import METADATA, Function
from gossamer.engine.llvm import compile_object
from gossamer.engine.runtime import service_functions
from gossamer.isa.body import Raise, Write
from gossamer.isa.expr import Expr, const
from gossamer.isa.insn import Insn
from gossamer.isa.spec.table import TABLE
from gossamer.verify.float.exact import U32, Answers
from gossamer.verify.float.operands import Operands

_REGISTERS: Final = {"FRT": 1, "FRA": 2, "FRB": 3, "FRC": 4}
_ARGUMENTS: Final = {2: "%a", 3: "%b", 4: "%c"}
_BF: Final = 5
_MSR: Final = 0x2800  # FP, FE0
_LEFT: Final = np.dtype([("frt", "<u8"), ("fpscr", "<u4"), ("rest", "<u4")])
_ROWS: Final = {row.name: row for row in TABLE}
_LOOP: Final = """
define internal void @one_{name}(i64 %a, i64 %c, i64 %b, i32 %fpscr, ptr %out) {{
entry:
{lines}
  %w = zext i1 {when} to i32
  %t = zext i1 {traps} to i32
  %tt = shl i32 %t, 1
  %f = zext i8 {field} to i32
  %ff = shl i32 %f, 8
  %wt = or i32 %w, %tt
  %rest = or i32 %wt, %ff
  %second = getelementptr i8, ptr %out, i64 8
  %third = getelementptr i8, ptr %out, i64 12
  store i64 {frt}, ptr %out
  store i32 {after}, ptr %second
  store i32 %rest, ptr %third
  ret void
}}
define void @many_{name}(ptr %as, ptr %cs, ptr %bs, ptr %fs, ptr %out, i64 %n) {{
entry:
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %next, %loop ]
  %pa = getelementptr i64, ptr %as, i64 %k
  %pc = getelementptr i64, ptr %cs, i64 %k
  %pb = getelementptr i64, ptr %bs, i64 %k
  %pf = getelementptr i32, ptr %fs, i64 %k
  %to = mul i64 %k, 16
  %q = getelementptr i8, ptr %out, i64 %to
  %a = load i64, ptr %pa
  %c = load i64, ptr %pc
  %b = load i64, ptr %pb
  %f = load i32, ptr %pf
  call void @one_{name}(i64 %a, i64 %c, i64 %b, i32 %f, ptr %q)
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def _word(row: Insn) -> int:
    """The instruction on fixed registers, recording where it can."""
    given = {**_REGISTERS, "BF": _BF, "Rc": 1}
    names = [*row.asm.split(" ", 1)[1].split(","), *(["Rc"] if row.form.has("Rc") else [])]
    word = row.match
    for name in names:
        word |= row.form.field(name).put(given[name])
    return word


def _register(e: Expr) -> str:
    if e.arg == "fpr":
        return _ARGUMENTS[e.args[0].value]
    known = {"fpscr": "%fpscr", "msr": str(_MSR)}
    return known[str(e.arg)]


def _text(name: str, intrinsics: set[str]) -> str:
    trace = _ROWS[name].trace(const(_word(_ROWS[name]), 32))
    writes = {s.reg: s for s in trace if isinstance(s, Write)}
    traps = [s.when for s in trace if isinstance(s, Raise) and s.commit]
    f = Function(intrinsics)
    f.leaves["reg"] = _register
    target = writes.get("fpr")
    return _LOOP.format(
        name=name,
        frt=f.expr(target.value) if target else "0",
        when=f.expr(target.when) if target else "false",
        after=f.expr(writes["fpscr"].value) if "fpscr" in writes else "%fpscr",
        traps=f.expr(traps[0]) if traps else "false",
        field=f.expr(writes["crf"].value),
        lines="\n".join(f.lines),
    )


class NativeFloat:
    """Native code of some instructions."""

    def __init__(self, names: Iterable[str]) -> None:
        intrinsics: set[str] = set()
        parts = [service_functions(intrinsics), *(_text(n, intrinsics) for n in names)]
        self._native = Native(compile_object("\n".join([*sorted(intrinsics), *parts, METADATA])))

    def run(self, name: str, cases: Operands) -> Answers:
        pointer = ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(None, *([pointer] * 5), ctypes.c_int64)
        left = np.zeros(len(cases.a), _LEFT)
        given = [np.ascontiguousarray(x) for x in cases]
        kind(self._native.address(f"many_{name}"))(
            *(x.ctypes.data for x in given), left.ctypes.data, len(left)
        )
        rest: NDArray[np.uint32] = left["rest"]
        written, traps = (rest & U32(1)) != 0, (rest & U32(2)) != 0
        return Answers(left["frt"], written, left["fpscr"], traps, rest >> U32(8))
