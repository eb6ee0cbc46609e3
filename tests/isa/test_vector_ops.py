"""Each vector operation: its LLVM text against its meaning, and its meaning against NumPy."""

from __future__ import annotations

import ctypes
import random

import numpy as np
import pytest

from gossamer.base.bits import ones
from gossamer.engine.build import Native
from gossamer.engine.emit import EMIT, Function
from gossamer.engine.llvm import compile_object
from gossamer.engine.statements import text_of
from gossamer.isa.expr import Expr, const
from gossamer.isa.insn import Insn
from gossamer.isa.ops import OPS
from gossamer.isa.vector.lanes import FLOAT_ROWS, VECTOR_OPS, join, split
from gossamer.isa.vector.lanewise import each, lanes
from gossamer.verify.isa.vector_cases import VectorCases

#: Where what a NaN result is, is not defined.
FLOATING = {"vfadd", "vfsub", "vfmul", "vfdiv", "vfma", "vfsqrt"}
FLOATING |= {"vround", "vtrunc", "vceil", "vfloor"}
ONE = {"vfsqrt", "vround", "vtrunc", "vceil", "vfloor", "vfromu", "vfroms", "vtou", "vtos"}
THREE = {"vfma", "vadd3s32", "vperm"}


def operand_widths(op: str) -> list[int]:
    if op.startswith("vsplat"):
        return [int(op[6:])]
    return [128] * (1 if op in ONE else 3 if op in THREE else 2)


def function_text(op: str, intrinsics: set[str]) -> str:
    """``void op(ptr out, ptr in)``: the operation on operands 16 bytes apart."""
    f = Function(intrinsics)

    def leaf(e: Expr) -> str:
        where = f.value(f"getelementptr i8, ptr %in, i64 {16 * int(e.arg)}")
        return f.value(f"load i{e.width}, ptr {where}, align 1")

    f.leaves = {"arg": leaf}
    args = tuple(Expr("arg", w, (), n) for n, w in enumerate(operand_widths(op)))
    f.line(f"store i128 {f.expr(Expr(op, 128, args))}, ptr %out, align 1")
    f.line("ret void")
    return text_of(f, f"define void @{op}(ptr %out, ptr %in) nounwind {{")


@pytest.fixture(scope="module")
def native() -> Native:
    intrinsics: set[str] = set()
    texts = [function_text(op, intrinsics) for op in VECTOR_OPS]
    return Native(compile_object("\n".join([*sorted(intrinsics), *texts])))


class Source(VectorCases):
    """Operands without an instruction."""

    def __init__(self, op: str, seed: str) -> None:
        self.rng = random.Random(f"{seed} {op}")
        self.float = op in FLOAT_ROWS and not op.startswith("vfrom")
        self.row: Insn | None = None  # type: ignore[assignment]

    def operands(self, op: str) -> list[int]:
        values = [self.vector() & ones(w) for w in operand_widths(op)]
        if self.rng.random() < 0.2:
            values[-1] = values[0]
        return values


def is_nan(bits: int) -> bool:
    return bits & ones(31) > 0xFF << 23


def same(op: str, a: int, b: int) -> bool:
    if op not in FLOATING:
        return a == b
    pairs = zip(split(a, 32), split(b, 32), strict=True)
    return all(x == y or (is_nan(x) and is_nan(y)) for x, y in pairs)


@pytest.mark.parametrize("op", VECTOR_OPS)
def test_operation_in_llvm_is_the_operation(native: Native, op: str) -> None:
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(native.address(op))
    source = Source(op, "llvm")
    out = ctypes.create_string_buffer(16)
    for _ in range(150):
        values = source.operands(op)
        call(out, b"".join(v.to_bytes(16, "little") for v in values))
        got = int.from_bytes(out.raw, "little")
        expected = OPS[op](128, operand_widths(op), values) & ones(128)
        assert same(op, got, expected), f"{op} {[hex(v) for v in values]}: {got:#x} {expected:#x}"


def test_every_row_has_its_text() -> None:
    assert set(VECTOR_OPS) <= set(EMIT)


SINGLE = {
    "vfadd": np.add,
    "vfsub": np.subtract,
    "vfmul": np.multiply,
    "vfdiv": np.divide,
    "vfsqrt": np.sqrt,
    "vround": np.rint,
    "vtrunc": np.trunc,
    "vceil": np.ceil,
    "vfloor": np.floor,
}


@pytest.mark.parametrize("op", SINGLE)
def test_single_operation_equals_numpy(op: str) -> None:
    source = Source(op, "numpy")
    for _ in range(200):
        values = source.operands(op)
        vectors = [np.array(split(v, 32), np.uint32).view(np.float32) for v in values]
        with np.errstate(all="ignore"):
            want = SINGLE[op](*vectors).astype(np.float32).view(np.uint32).tolist()
        got = OPS[op](128, [128] * len(values), values)
        assert same(op, got, join(want, 32)), f"{op} {[hex(v) for v in values]}"


def test_fused_sum_is_rounded_once() -> None:
    # (1 + 2**-12)**2 - 1 = 2**-11 + 2**-24: the product alone would lose its last bit
    a = each(0x3F80_0800, 32)
    result = lanes("vfma", a, a, each(0xBF80_0000, 32))
    assert result.value & ones(32) == 0x3A00_0400
    twice = lanes("vfsub", lanes("vfmul", a, a), each(0x3F80_0000, 32))
    assert twice.value & ones(32) == 0x3A00_0000


@pytest.mark.parametrize(
    ("op", "operands", "expected"),
    [
        ("vadds8", (0x7F7F_8001, 0x0101_80FF), 0x7F7F_8000),
        ("vsubu16", (0x0001_8000, 0x0002_7FFF), 0x0000_0001),
        ("vavgu8", (0xFF00_01FE, 0xFF01_02FF), 0xFF01_02FF),
        ("vcgts16", (0x8000_7FFF, 0x7FFF_8000), 0x0000_FFFF),
        ("vashr32", (0x8000_0000, 33), 0xC000_0000),
        ("vrotl8", (0x8142_0100, 0x0109_0800), 0x0384_0100),
        ("vmrgl16", (0x1111_2222, 0x3333_4444), 0x2222_4444),
        ("vpack8", (0x1122_3344, 0x5566_7788), 0x6688),
    ],
)
def test_operation_by_hand(op: str, operands: tuple[int, ...], expected: int) -> None:
    assert OPS[op](128, [128] * len(operands), list(operands)) & ones(32) == expected


def test_constants_fold() -> None:
    assert lanes("vadd32", each(1, 32), each(-1, 32)).value == 0
    assert lanes("vperm", const(0, 128), each(5, 8), each(0x1F, 8)).value == each(5, 8).value
