"""What each operation means, on Python integers.  One row an operation.

A row takes the result's width, the operands' widths and their values (unsigned); its result is
taken modulo 2**width.  `engine.emit` has the same keys with their LLVM text; a test runs both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.bits import ones, signed
from gossamer.isa import hostfloat
from gossamer.isa.vector.lanes import VECTOR_OPS

Value = Callable[[int, list[int], list[int]], int]


def _rotl(width: int, _: list[int], v: list[int]) -> int:
    n = v[1] % width
    return v[0] << n | v[0] >> (width - n)


def _sdiv(width: int, _: list[int], v: list[int]) -> int:
    a, b = signed(v[0], width), signed(v[1], width)
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _bswap(width: int, _: list[int], v: list[int]) -> int:
    return int.from_bytes(v[0].to_bytes(width // 8, "little"), "big")


OPS: Final[dict[str, Value]] = {
    "add": lambda w, _, v: (v[0] + v[1]) & ones(w),
    "sub": lambda w, _, v: (v[0] - v[1]) & ones(w),
    "mul": lambda w, _, v: (v[0] * v[1]) & ones(w),
    "udiv": lambda w, _, v: v[0] // v[1],
    "sdiv": lambda w, _, v: _sdiv(w, _, v) & ones(w),
    "and": lambda w, _, v: v[0] & v[1],
    "or": lambda w, _, v: v[0] | v[1],
    "xor": lambda w, _, v: v[0] ^ v[1],
    "shl": lambda w, _, v: (v[0] << v[1]) & ones(w),
    "lshr": lambda w, _, v: v[0] >> v[1],
    "ashr": lambda w, _, v: (signed(v[0], w) >> v[1]) & ones(w),
    "rotl": lambda w, _, v: _rotl(w, _, v) & ones(w),
    "clz": lambda w, _, v: w - v[0].bit_length(),
    "bswap": _bswap,
    "eq": lambda w, _, v: int(v[0] == v[1]),
    "ltu": lambda w, _, v: int(v[0] < v[1]),
    "lts": lambda w, n, v: int(signed(v[0], n[0]) < signed(v[1], n[1])),
    "select": lambda w, _, v: v[1] if v[0] else v[2],
    "choose": lambda w, _, v: v[1] if v[0] else v[2],  # a reader evaluates only the side taken
    "zext": lambda w, _, v: v[0],
    "sext": lambda w, n, v: signed(v[0], n[0]) & ones(w),
    "trunc": lambda w, _, v: v[0] & ones(w),
    # IEEE arithmetic to nearest even, as host instructions give it; a NaN result is any NaN
    "fadd64": lambda w, _, v: hostfloat.add(v[0], v[1]),
    "fsub64": lambda w, _, v: hostfloat.subtract(v[0], v[1]),
    "fmul64": lambda w, _, v: hostfloat.multiply(v[0], v[1]),
    "fdiv64": lambda w, _, v: hostfloat.divide(v[0], v[1]),
    "fma64": lambda w, _, v: hostfloat.fused(v[0], v[1], v[2]),  # a * b + c, rounded once
    "fcvt64to32": lambda w, _, v: hostfloat.narrow(v[0]),
    "fcvt32to64": lambda w, _, v: hostfloat.widen(v[0]),
    "flt64": lambda w, _, v: int(hostfloat.double(v[0]) < hostfloat.double(v[1])),
    "feq64": lambda w, _, v: int(hostfloat.double(v[0]) == hostfloat.double(v[1])),
    "fcvt_i32": lambda w, _, v: hostfloat.to_word(v[0]) & ones(w),  # towards zero; in range
    **VECTOR_OPS,
}
