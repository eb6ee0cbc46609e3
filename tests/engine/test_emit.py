"""Each operation's LLVM text against its meaning on Python integers."""

from __future__ import annotations

import ctypes
import math
import struct
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.base.bits import ones
from gossamer.engine.build import Native
from gossamer.engine.emit import EMIT, Function, literal
from gossamer.engine.llvm import compile_object
from gossamer.engine.statements import text_of
from gossamer.isa.expr import Expr, const
from gossamer.isa.ops import OPS
from gossamer.isa.service import SERVICES, Answered
from gossamer.isa.spec.table import TABLE
from gossamer.isa.vector.lanes import FLOAT_ROWS, VECTOR_OPS

WIDTHS = {
    "rotl": (8, 32, 64),
    "clz": (8, 16, 32, 64),
    "bswap": (8, 16, 32, 64),
    "udiv": (32, 64),
    "sdiv": (32, 64),
}
FLOATS = {
    "fadd64": (64, (64, 64)),
    "fsub64": (64, (64, 64)),
    "fmul64": (64, (64, 64)),
    "fdiv64": (64, (64, 64)),
    "fma64": (64, (64, 64, 64)),
    "fcvt64to32": (32, (64,)),
    "fcvt32to64": (64, (32,)),
    "flt64": (1, (64, 64)),
    "feq64": (1, (64, 64)),
    "fcvt_i32": (32, (64,)),
}
DOUBLES = (
    0.0, -0.0, 1.0, -1.5, 2.0**-1074, 2.0**-1022, 1.7976931348623157e308, math.inf, -math.inf,
    2.0**31 - 1, -(2.0**31), 3.4028235677973366e38, 2.0**-149, 2.0**-150, 1 / 3,
)  # fmt: skip


def vector_shapes() -> dict[str, tuple[int, ...]]:
    """Operand widths of the vector operations, as the bodies of the table use them."""
    found: dict[str, tuple[int, ...]] = {}
    seen: set[int] = set()

    def visit(thing: object) -> None:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, list | tuple):
            for one in thing:
                visit(one)
        elif isinstance(thing, Expr):
            if thing.op in VECTOR_OPS:
                found[thing.op] = tuple(a.width for a in thing.args)
            visit(thing.args)
        elif is_dataclass(thing):
            for f in fields(thing):
                visit(getattr(thing, f.name))

    keep = [row.trace(Expr("word", 32)) for row in TABLE if row.width != 64]
    keep += [s.result for s in SERVICES.values() if not isinstance(s, Answered)]
    visit(keep)
    return found


def cases() -> list[tuple[str, int, tuple[int, ...]]]:
    """(operation, result width, operand widths) of everything compiled."""
    out: list[tuple[str, int, tuple[int, ...]]] = []
    shapes = vector_shapes()
    for op in OPS:
        if op in VECTOR_OPS:
            out.append((op, 128, shapes[op]))
        elif op in FLOATS:
            out.append((op, *FLOATS[op]))
        elif op in ("eq", "ltu", "lts"):
            out += [(op, 1, (w, w)) for w in (1, 4, 8, 16, 32, 64)]
        elif op in ("select", "choose"):
            out += [(op, w, (1, w, w)) for w in (1, 8, 32, 64)]
        elif op in ("zext", "sext"):
            out += [
                (op, to, (w,)) for w, to in ((1, 8), (1, 32), (5, 32), (8, 32), (16, 32), (32, 64))
            ]
        elif op == "trunc":
            out += [(op, to, (w,)) for w, to in ((32, 1), (32, 5), (32, 8), (64, 32), (64, 1))]
        else:
            count = 1 if op in ("clz", "bswap") else 2
            out += [(op, w, (w,) * count) for w in WIDTHS.get(op, (1, 8, 16, 32, 64))]
    return out


CASES = cases()


def native_name(case: tuple[str, int, tuple[int, ...]]) -> str:
    op, width, widths = case
    return "_".join(map(str, (op, width, *widths)))


def function_text(case: tuple[str, int, tuple[int, ...]], intrinsics: set[str]) -> str:
    """``void name(ptr result, ptr operands)``: 16 bytes each, little-endian."""
    op, width, widths = case
    f = Function(intrinsics)

    def leaf(e: Expr) -> str:
        where = f.value(f"getelementptr i8, ptr %a, i64 {16 * int(e.arg)}")
        wide = f.value(f"load i128, ptr {where}, align 1")
        return wide if e.width == 128 else f.value(f"trunc i128 {wide} to i{e.width}")

    f.leaves = {"arg": leaf}
    args = tuple(Expr("arg", w, (), n) for n, w in enumerate(widths))
    result = f.expr(Expr(op, width, args))
    wide = result if width == 128 else f.value(f"zext i{width} {result} to i128")
    f.line(f"store i128 {wide}, ptr %r, align 1")
    f.line("ret void")
    return text_of(f, f"define void @{native_name(case)}(ptr %r, ptr %a) nounwind {{")


class Compiled:
    """The native functions of every case."""

    def __init__(self) -> None:
        intrinsics: set[str] = set()
        texts = [function_text(case, intrinsics) for case in CASES]
        self.native = Native(compile_object("\n".join([*sorted(intrinsics), *texts])))
        kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p)
        self.functions = {c: kind(self.native.address(native_name(c))) for c in CASES}

    def __call__(self, case: tuple[str, int, tuple[int, ...]], values: list[int]) -> int:
        result = ctypes.create_string_buffer(16)
        operands = b"".join(v.to_bytes(16, "little") for v in values)
        self.functions[case](result, operands)
        return int.from_bytes(result.raw, "little")


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return Compiled()


def test_tables_have_the_same_operations() -> None:
    assert set(OPS) == set(EMIT)


def operand(width: int) -> st.SearchStrategy[int]:
    edges = {0, 1, 2, ones(width), ones(width) - 1, 1 << width - 1, (1 << width - 1) - 1}
    return st.one_of(
        st.sampled_from(sorted(e & ones(width) for e in edges)), st.integers(0, ones(width))
    )


def double_bits(value: float) -> int:
    return int(struct.unpack(">Q", struct.pack(">d", value))[0])


def allowed(op: str, width: int, values: list[int]) -> bool:
    """Whether the operation is defined on these operands (its docstring says so)."""
    if op in ("shl", "lshr", "ashr"):
        return values[1] < width
    if op == "udiv":
        return values[1] != 0
    if op == "sdiv":
        return values[1] != 0 and not (values[0] == 1 << width - 1 and values[1] == ones(width))
    return True


def is_nan(bits: int, width: int) -> bool:
    if width == 64:
        return bits & ones(63) > 0x7FF << 52
    return width == 32 and bits & ones(31) > 0xFF << 23


@pytest.mark.parametrize(
    "case", [c for c in CASES if c[0] not in FLOATS and c[0] not in FLOAT_ROWS], ids=native_name
)
@settings(max_examples=15)
@given(data=st.data())
def test_operation_in_llvm_is_the_operation(case, compiled, data) -> None:
    op, width, widths = case
    values = [data.draw(operand(w)) for w in widths]
    if op in ("shl", "lshr", "ashr"):
        values[1] %= width
    if op == "udiv":
        values[1] = values[1] or 1
    if not allowed(op, width, values):
        values[1] = 1
    assert compiled(case, values) == OPS[op](width, list(widths), values) & ones(width)


def float_operand(width: int) -> st.SearchStrategy[int]:
    if width == 32:
        return st.integers(0, ones(32)).filter(lambda b: not is_nan(b, 32))
    usual = st.floats(allow_nan=False).map(double_bits)
    return st.one_of(st.sampled_from([double_bits(d) for d in DOUBLES]), usual)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] in FLOATS], ids=native_name)
@settings(max_examples=40)
@given(data=st.data())
def test_float_operation_in_llvm_is_the_operation(case, compiled, data) -> None:
    op, width, widths = case
    values = [data.draw(float_operand(w)) for w in widths]
    if op == "fcvt_i32":  # in range by construction
        values = [double_bits(float(data.draw(st.integers(-(2**31), 2**31 - 1))))]
    if op == "fdiv64" and values[1] << 1 & ones(64) == 0:
        values[1] = double_bits(3.0)
    got, expected = compiled(case, values), OPS[op](width, list(widths), values) & ones(width)
    if width > 1 and is_nan(expected, width):
        assert is_nan(got, width)
    else:
        assert got == expected


def single_bits(value: float) -> int:
    return int(struct.unpack(">I", struct.pack(">f", value))[0])


@pytest.mark.parametrize("case", [c for c in CASES if c[0] in FLOAT_ROWS], ids=native_name)
@settings(max_examples=40)
@given(data=st.data())
def test_vector_float_operation_in_llvm_is_the_operation(case, compiled, data) -> None:
    """Lane by lane; a lane that is a NaN may be any NaN."""
    op, width, widths = case
    lane = st.floats(width=32, allow_nan=False).map(single_bits)
    vector = st.lists(lane, min_size=4, max_size=4)
    values = [sum(v << 32 * n for n, v in enumerate(data.draw(vector))) for _ in widths]
    got, expected = compiled(case, values), OPS[op](width, list(widths), values)
    for n in range(4):
        a, b = (x >> 32 * n & ones(32) for x in (got, expected))
        assert a == b or (is_nan(a, 32) and is_nan(b, 32))


def test_literal_is_signed_as_llvm_writes_it() -> None:
    assert [literal(v, w) for v, w in ((0xFFFF_FFFF, 32), (1, 1), (0, 1), (0x7F, 8))] == [
        "-1", "true", "false", "127",
    ]  # fmt: skip


def test_constant_operands_fold_to_the_same_value() -> None:
    folded = const(7, 32) + const(0xFFFF_FFFF, 32)
    assert (folded.op, folded.value) == ("const", 6)
