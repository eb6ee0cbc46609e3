"""The vector operations of `isa.vector.lanes` as LLVM text: one row each.

A vector is an i128 between operations; casts between it and ``<n x iw>`` cost nothing once LLVM
has folded them.  Lane 0 is the least significant on a little-endian host, as in `lanes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gossamer.isa.vector.lanes import INTEGER_LANES, WIDTH

if TYPE_CHECKING:
    from gossamer.engine.emit import Function
    from gossamer.isa.expr import Expr

Emit = Callable[["Function", "Expr", list[str]], str]
SINGLES: Final = "<4 x float>"
PAIR: Final = "<2 x i64>"


def kind(width: int) -> str:
    return f"<{WIDTH // width} x i{width}>"


def mangled(lane_type: str) -> str:
    """A vector type as intrinsics' names spell it."""
    count, _, element = lane_type.strip("<>").split()
    return f"v{count}{element.replace('float', 'f32')}"


def enter(f: Function, lane_type: str, value: str) -> str:
    return f.value(f"bitcast i128 {value} to {lane_type}")


def leave(f: Function, lane_type: str, value: str) -> str:
    return f.value(f"bitcast {lane_type} {value} to i128")


def each(value: int, width: int) -> str:
    """A constant vector."""
    return "<" + ", ".join([f"i{width} {value}"] * (WIDTH // width)) + ">"


def instruction(text: str, lane_type: str) -> Emit:
    """A binary instruction."""

    def emit(f: Function, e: Expr, v: list[str]) -> str:
        a, b = (enter(f, lane_type, x) for x in v)
        return leave(f, lane_type, f.value(f"{text} {lane_type} {a}, {b}"))

    return emit


def intrinsic(name: str, lane_type: str) -> Emit:
    """An intrinsic whose operands and result have the same type."""

    def emit(f: Function, e: Expr, v: list[str]) -> str:
        args = [(lane_type, enter(f, lane_type, x)) for x in v]
        return leave(f, lane_type, f.call(f"{name}.{mangled(lane_type)}", lane_type, *args))

    return emit


def compare(text: str, lane_type: str) -> Emit:
    """Ones where the comparison holds."""

    def emit(f: Function, e: Expr, v: list[str]) -> str:
        a, b = (enter(f, lane_type, x) for x in v)
        count = lane_type.split(maxsplit=1)[0].lstrip("<")
        mask_type = kind(WIDTH // int(count))
        holds = f.value(f"{text} {lane_type} {a}, {b}")
        wide = f.value(f"sext <{count} x i1> {holds} to {mask_type}")
        return leave(f, mask_type, wide)

    return emit


def shift(text: str, width: int) -> Emit:
    """A shift by the count of each lane, modulo the lane's width."""

    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t = kind(width)
        a, b = (enter(f, t, x) for x in v)
        count = f.value(f"and {t} {b}, {each(width - 1, width)}")
        return leave(f, t, f.value(f"{text} {t} {a}, {count}"))

    return emit


def rotate(width: int) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t = kind(width)
        a, b = ((t, enter(f, t, x)) for x in v)
        return leave(f, t, f.call(f"llvm.fshl.{mangled(t)}", t, a, a, b))

    return emit


def average(width: int) -> Emit:
    """Half the sum and one, worked out in lanes of twice the width."""

    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t, count = kind(width), WIDTH // width
        wide = f"<{count} x i{2 * width}>"
        one = "<" + ", ".join([f"i{2 * width} 1"] * count) + ">"
        a, b = (f.value(f"zext {t} {enter(f, t, x)} to {wide}") for x in v)
        total = f.value(f"add nuw {wide} {f.value(f'add nuw {wide} {a}, {b}')}, {one}")
        half = f.value(f"lshr {wide} {total}, {one}")
        return leave(f, t, f.value(f"trunc {wide} {half} to {t}"))

    return emit


def splat(width: int) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t = kind(width)
        first = f.value(f"insertelement {t} poison, i{width} {v[0]}, i32 0")
        mask = f"<{WIDTH // width} x i32> zeroinitializer"
        return leave(f, t, f.value(f"shufflevector {t} {first}, {t} poison, {mask}"))

    return emit


def shuffle(width: int, chosen: list[int]) -> Emit:
    """Lanes of the two operands in a fixed order; the second operand's follow the first's."""

    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t = kind(width)
        a, b = (enter(f, t, x) for x in v)
        mask = f"<{len(chosen)} x i32> <" + ", ".join(f"i32 {n}" for n in chosen) + ">"
        return leave(f, t, f.value(f"shufflevector {t} {a}, {t} {b}, {mask}"))

    return emit


def reverse(f: Function, value: str) -> str:
    """A vector's bytes in the other order."""
    t = kind(8)
    mask = "<16 x i32> <" + ", ".join(f"i32 {n}" for n in reversed(range(16))) + ">"
    a = enter(f, t, value)
    return leave(f, t, f.value(f"shufflevector {t} {a}, {t} poison, {mask}"))


def merge(width: int, *, high: bool) -> Emit:
    count = WIDTH // width
    start = count // 2 if high else 0
    pairs = ((count + n, n) for n in range(start, start + count // 2))
    return shuffle(width, [n for pair in pairs for n in pair])


def pack(width: int) -> Emit:
    count = WIDTH // width
    return shuffle(width, [*range(count, 2 * count, 2), *range(0, count, 2)])


def permute(f: Function, e: Expr, v: list[str]) -> str:
    """Byte n of the books is lane 15 - n; LLVM knows sixteen dynamic extracts as one shuffle."""
    t = kind(8)
    a, b, control = (enter(f, t, x) for x in v)
    low = f.value(f"and {t} {control}, {each(15, 8)}")
    index = f.value(f"xor {t} {low}, {each(15, 8)}")
    first, second = (_permute_one(f, x, index) for x in (a, b))
    bit = f.value(f"and {t} {control}, {each(16, 8)}")
    mine = f.value(f"icmp eq {t} {bit}, zeroinitializer")
    return leave(f, t, f.value(f"select <16 x i1> {mine}, {t} {first}, {t} {second}"))


def _permute_one(f: Function, source: str, index: str) -> str:
    t, result = kind(8), "poison"
    for n in range(16):
        at = f.value(f"extractelement {t} {index}, i32 {n}")
        byte = f.value(f"extractelement {t} {source}, i8 {at}")
        result = f.value(f"insertelement {t} {result}, i8 {byte}, i32 {n}")
    return result


def add_three(f: Function, e: Expr, v: list[str]) -> str:
    """The exact sum of three signed words, saturated."""
    t, wide = kind(32), "<4 x i64>"
    a, b, c = (f.value(f"sext {t} {enter(f, t, x)} to {wide}") for x in v)
    total = f.value(f"add {wide} {f.value(f'add {wide} {a}, {b}')}, {c}")
    for name, limit in (("smin", (1 << 31) - 1), ("smax", -(1 << 31))):
        bound = "<" + ", ".join([f"i64 {limit}"] * 4) + ">"
        total = f.call(f"llvm.{name}.v4i64", wide, (wide, total), (wide, bound))
    return leave(f, t, f.value(f"trunc {wide} {total} to {t}"))


def from_integer(text: str) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t = kind(32)
        return leave(f, SINGLES, f.value(f"{text} {t} {enter(f, t, v[0])} to {SINGLES}"))

    return emit


def to_integer(name: str) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        t = kind(32)
        value = (SINGLES, enter(f, SINGLES, v[0]))
        return leave(f, t, f.call(f"llvm.{name}.sat.v4i32.v4f32", t, value))

    return emit


def integer_rows(w: int) -> Iterator[tuple[str, Emit]]:
    t = kind(w)
    yield f"vadd{w}", instruction("add", t)
    yield f"vsub{w}", instruction("sub", t)
    for row, name in (("addu", "uadd.sat"), ("adds", "sadd.sat"), ("subu", "usub.sat"),
                      ("subs", "ssub.sat"), ("minu", "umin"), ("mins", "smin"),
                      ("maxu", "umax"), ("maxs", "smax")):  # fmt: skip
        yield f"v{row}{w}", intrinsic(f"llvm.{name}", t)
    yield f"vavgu{w}", average(w)
    yield f"vceq{w}", compare("icmp eq", t)
    yield f"vcgtu{w}", compare("icmp ugt", t)
    yield f"vcgts{w}", compare("icmp sgt", t)
    for name in ("shl", "lshr", "ashr"):
        yield f"v{name}{w}", shift(name, w)
    yield f"vrotl{w}", rotate(w)
    yield f"vsplat{w}", splat(w)
    yield f"vmrgh{w}", merge(w, high=True)
    yield f"vmrgl{w}", merge(w, high=False)


VECTOR_EMIT: Final[dict[str, Emit]] = {
    "vand": instruction("and", kind(64)),
    "vor": instruction("or", kind(64)),
    "vxor": instruction("xor", kind(64)),
    **{name: row for w in INTEGER_LANES for name, row in integer_rows(w)},
    "vlshr64": shift("lshr", 64),
    "vmul16": instruction("mul", kind(16)),
    "vmul32": instruction("mul", kind(32)),
    "vadd3s32": add_three,
    "vpack8": pack(8),
    "vpack16": pack(16),
    "vperm": permute,
    "vfadd": instruction("fadd", SINGLES),
    "vfsub": instruction("fsub", SINGLES),
    "vfmul": instruction("fmul", SINGLES),
    "vfdiv": instruction("fdiv", SINGLES),
    "vfma": intrinsic("llvm.fma", SINGLES),
    "vfsqrt": intrinsic("llvm.sqrt", SINGLES),
    "vfeq": compare("fcmp oeq", SINGLES),
    "vfgt": compare("fcmp ogt", SINGLES),
    "vfge": compare("fcmp oge", SINGLES),
    "vround": intrinsic("llvm.roundeven", SINGLES),
    "vtrunc": intrinsic("llvm.trunc", SINGLES),
    "vceil": intrinsic("llvm.ceil", SINGLES),
    "vfloor": intrinsic("llvm.floor", SINGLES),
    "vfromu": from_integer("uitofp"),
    "vfroms": from_integer("sitofp"),
    "vtou": to_integer("fptoui"),
    "vtos": to_integer("fptosi"),
}
