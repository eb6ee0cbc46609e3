"""The same text compiled: floating-point results and FPSCR of native code against rationals.

Each instruction's FRT, FPSCR and write condition are emitted as one function over arrays.
"""

import ctypes
import random
from collections.abc import Callable

import numpy as np
import pytest

from gossamer.engine.build import Native, compile_object
from gossamer.engine.emit import METADATA, Function
from gossamer.engine.runtime import service_functions
from gossamer.isa.body import Write
from gossamer.isa.expr import Expr
from tests.isa import float_cases, float_reference
from tests.isa.float_cpu import FRA, FRB, FRC, UNTOUCHED, trace
from tests.isa.test_float_arith import ARITHMETIC

CASE = np.dtype([("a", "<u8"), ("c", "<u8"), ("b", "<u8"), ("fpscr", "<u4"), ("pad", "<u4")])
LEFT = np.dtype([("frt", "<u8"), ("fpscr", "<u4"), ("written", "<u4")])
LOOP = """
define internal void @one_{name}(i64 %a, i64 %c, i64 %b, i32 %fpscr, ptr %out) {{
entry:
{lines}
  %written = zext i1 {when} to i32
  %second = getelementptr i8, ptr %out, i64 8
  %third = getelementptr i8, ptr %out, i64 12
  store i64 {frt}, ptr %out
  store i32 {after}, ptr %second
  store i32 %written, ptr %third
  ret void
}}
define void @many_{name}(ptr %in, ptr %out, i64 %n) {{
entry:
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %next, %loop ]
  %at = mul i64 %k, 32
  %pa = getelementptr i8, ptr %in, i64 %at
  %pc = getelementptr i8, ptr %pa, i64 8
  %pb = getelementptr i8, ptr %pa, i64 16
  %pf = getelementptr i8, ptr %pa, i64 24
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


def register(e: Expr) -> str:
    if e.arg == "fpscr":
        return "%fpscr"
    assert e.arg == "fpr", e.arg
    return {FRA: "%a", FRB: "%b", FRC: "%c"}[e.args[0].value]


def function_text(name: str, intrinsics: set[str]) -> str:
    writes = {s.reg: s for s in trace(name, 0) if isinstance(s, Write)}
    f = Function(intrinsics)
    f.leaves["reg"] = register
    frt, when = f.expr(writes["fpr"].value), f.expr(writes["fpr"].when)
    after = f.expr(writes["fpscr"].value) if "fpscr" in writes else "%fpscr"
    return LOOP.format(name=name, lines="\n".join(f.lines), when=when, frt=frt, after=after)


@pytest.fixture(scope="module")
def native() -> Native:
    intrinsics: set[str] = set()
    parts = [service_functions(intrinsics), *(function_text(n, intrinsics) for n in ARITHMETIC)]
    return Native(compile_object("\n".join([*sorted(intrinsics), *parts, METADATA])))


def run(native: Native, name: str, cases: list[tuple[int, ...]]) -> list[tuple[int, int, int]]:
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    function: Callable[..., None] = kind(native.address(f"many_{name}"))
    given, left = np.array(cases, CASE), np.zeros(len(cases), LEFT)
    function(given.ctypes.data, left.ctypes.data, len(cases))
    answers: list[tuple[int, int, int]] = left.tolist()
    return answers


def sweep(native: Native, name: str, count: int, seed: str) -> None:
    rng = random.Random(f"{name} {seed}")
    cases = []
    for _ in range(count):
        fpscr = float_reference.summary(float_cases.fpscr(rng))
        cases.append((*float_cases.operands(rng), fpscr, 0))
    for case, (frt, fpscr, written) in zip(cases, run(native, name, cases), strict=True):
        want = float_reference.run(name, *case[:4])
        expected = UNTOUCHED if want.frt is None else want.frt, want.fpscr
        got = frt if written else UNTOUCHED, fpscr
        assert got == expected, f"{name} " + " ".join(f"{x:x}" for x in (*case[:4], *got))


@pytest.mark.parametrize("name", ARITHMETIC)
def test_native_code_is_exact(native: Native, name: str) -> None:
    sweep(native, name, 1000, "native")


@pytest.mark.once
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_native_code_is_exact_on_many_operands(native: Native, name: str) -> None:
    sweep(native, name, 100_000, "native, slow")
