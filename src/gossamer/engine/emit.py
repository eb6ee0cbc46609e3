"""Expressions and statements to LLVM text.

One row an operation in `EMIT`, the same keys as `isa.ops.OPS`.  A `Function` collects the text of
one LLVM function; a `Writer` of statements (below) follows the order that `isa.body` lays down.
IR is built as text: llvmlite's builder costs milliseconds a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.bits import ones
from gossamer.engine.addresses import NARROW, Addresses
from gossamer.engine.emit_vector import PAIR, VECTOR_EMIT, enter, leave, reverse
from gossamer.isa.expr import Expr
from gossamer.isa.service import SERVICES, Answered
from gossamer.isa.vector.lanes import WIDTH

TB_CPU: Final = ", !tbaa !1"
TB_TLB: Final = ", !tbaa !3"
TB_MEM: Final = ", !tbaa !4"
TB_ENTRY: Final = ", !tbaa !5"
LIKELY: Final = ", !prof !9"
UNLIKELY: Final = ", !prof !8"
#: Calling convention of handlers and regions: no register outlives the call, so none is saved.
#: x86-64 and AArch64 have it.
CHAIN: Final = "preserve_nonecc"

METADATA: Final = """
!0 = !{!"gossamer"}
!1 = !{!11, !11, i64 0}
!11 = !{!"cpu", !0, i64 0}
!3 = !{!13, !13, i64 0}
!13 = !{!"tlb", !0, i64 0}
!4 = !{!14, !14, i64 0}
!14 = !{!"memory", !0, i64 0}
!5 = !{!15, !15, i64 0}
!15 = !{!"entry", !0, i64 0}
!6 = !{i8 0, i8 32}
!8 = !{!"branch_weights", i32 1, i32 100000}
!9 = !{!"branch_weights", i32 100000, i32 1}
"""


def literal(value: int, width: int) -> str:
    """An LLVM integer constant of `width` bits."""
    value &= ones(width)
    if width == 1:
        return "true" if value else "false"
    return str(value - (1 << width) if value >> (width - 1) else value)


class Function:
    """The text of one LLVM function as it grows.

    `leaves` gives leaves of expressions their text on demand; `addresses` is what depends on the
    width of the model's word.
    """

    def __init__(self, intrinsics: set[str], addresses: Addresses = NARROW) -> None:
        self.addresses = addresses
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.count = 0
        self.memo: dict[Expr, str] = {}
        self.intrinsics = intrinsics
        self.block = "entry"
        self.leaves: dict[str, Callable[[Expr], str]] = {}

    # --- text -----------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, text: str) -> str:
        """Emit an instruction with a result; the result's name."""
        self.count += 1
        name = f"%t{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def start(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.block = label

    def call(self, name: str, result: str, *args: tuple[str, str]) -> str:
        """Call an intrinsic, declaring it."""
        types = ", ".join(t for t, _ in args)
        self.intrinsics.add(f"declare {result} @{name}({types})")
        return self.value(f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in args)})")

    # --- the register block and the context ----

    def at(self, offset: int) -> str:
        return self.value(f"getelementptr i8, ptr %cpu, i64 {offset}")

    def field(self, name: str, kind: str) -> str:
        """Load a context field."""
        return self.value(f"load {kind}, ptr {self.at(self.addresses.fields[name])}{TB_CPU}")

    def set_field(self, name: str, kind: str, value: str) -> None:
        self.line(f"store {kind} {value}, ptr {self.at(self.addresses.fields[name])}{TB_CPU}")

    def register(self, name: str, index: Expr) -> str:
        """Pointer to element `index` of a register."""
        size = self.addresses.layout.registers[name][0] // 8
        first = self.addresses.layout.offset[name]
        if index.is_const:
            return self.at(first + size * index.value)
        wide = self.value(f"zext i32 {self.expr(index)} to i64")
        scaled = self.value(f"mul nuw nsw i64 {wide}, {size}")
        place = self.value(f"add nuw nsw i64 {scaled}, {first}")
        return self.value(f"getelementptr i8, ptr %cpu, i64 {place}")

    def wide(self, ea: str) -> str:
        """An effective address, or a part of it, as an offset of 64 bits."""
        return ea if self.addresses.width == 64 else self.value(f"zext i32 {ea} to i64")

    # --- expressions ------------------------------------------------------------------------------

    def expr(self, e: Expr) -> str:
        """The text that holds the value of `e`, emitting what is missing."""
        if e.op == "const":
            return literal(int(e.arg), e.width)
        if e in self.memo:
            return self.memo[e]
        if e.op in self.leaves:
            text = self.leaves[e.op](e)
        elif e.op == "reg":
            where = self.register(str(e.arg), e.args[0])
            if e.width == WIDTH:
                text = leave(self, PAIR, self.value(f"load {PAIR}, ptr {where}, align 8{TB_CPU}"))
            else:
                text = self.value(f"load i{e.width}, ptr {where}{TB_CPU}")
        elif e.op == "choose":
            text = self._choose(e)
        elif e.op == "call":
            text = self._call(e)
        else:
            text = EMIT[e.op](self, e, [self.expr(a) for a in e.args])
        self.memo[e] = text
        return text

    def _call(self, e: Expr) -> str:
        args = ", ".join(f"i{a.width} {self.expr(a)}" for a in e.args)
        if isinstance(SERVICES[str(e.arg)], Answered):
            args = f"ptr %cpu, {args}"
        return self.value(f"call i{e.width} @service_{e.arg}({args})")

    def _choose(self, e: Expr) -> str:
        cond = self.expr(e.args[0])
        yes, no, join = self.label("yes"), self.label("no"), self.label("join")
        self.line(f"br i1 {cond}, label %{yes}, label %{no}")
        outer = dict(self.memo)
        self.start(yes)
        kind, a = self._joined(e.args[1])
        from_yes = self.block
        self.line(f"br label %{join}")
        self.memo = dict(outer)
        self.start(no)
        kind, b = self._joined(e.args[2])
        from_no = self.block
        self.line(f"br label %{join}")
        self.memo = outer
        self.start(join)
        joined = self.value(f"phi {kind} [ {a}, %{from_yes} ], [ {b}, %{from_no} ]")
        return leave(self, kind, joined) if e.width == WIDTH else joined

    def _joined(self, e: Expr) -> tuple[str, str]:
        """Type and text of one side of a `choose`: a vector stays one where the sides meet."""
        text = self.expr(e)
        if e.width != WIDTH:
            return f"i{e.width}", text
        return PAIR, enter(self, PAIR, text)


Emit = Callable[[Function, Expr, list[str]], str]


def _binary(op: str) -> Emit:
    return lambda f, e, v: f.value(f"{op} i{e.width} {v[0]}, {v[1]}")


def _compare(predicate: str) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        width = e.args[0].width
        if (predicate, width, v[1]) == ("eq", 128, "-1"):
            return _all_ones(f, v[0])
        return f.value(f"icmp {predicate} i{width} {v[0]}, {v[1]}")

    return emit


def _all_ones(f: Function, value: str) -> str:
    """Whether a vector is all ones, by halves.

    LLVM 22 aborts (MachineValueType.h, "Not a vector MVT!") where it compares 128 bits with -1 that
    come from a lane comparison which it only then finds to be false, as of a register with itself.
    """
    low = f.value(f"trunc i128 {value} to i64")
    high = f.value(f"trunc i128 {f.value(f'lshr i128 {value}, 64')} to i64")
    return f.value(f"icmp eq i64 {f.value(f'and i64 {low}, {high}')}, -1")


def _convert(op: str) -> Emit:
    return lambda f, e, v: f.value(f"{op} i{e.args[0].width} {v[0]} to i{e.width}")


def _rotl(f: Function, e: Expr, v: list[str]) -> str:
    t = f"i{e.width}"
    return f.call(f"llvm.fshl.{t}", t, (t, v[0]), (t, v[0]), (t, v[1]))


def _clz(f: Function, e: Expr, v: list[str]) -> str:
    t = f"i{e.width}"
    return f.call(f"llvm.ctlz.{t}", t, (t, v[0]), ("i1", "false"))


def _bswap(f: Function, e: Expr, v: list[str]) -> str:
    return swap_bytes(f, e.width, v[0])


def swap_bytes(f: Function, width: int, value: str) -> str:
    """An integer with its bytes in the other order; 128 bits stay one vector on the host."""
    if width == 8:
        return value
    if width == WIDTH:
        return reverse(f, value)
    t = f"i{width}"
    return f.call(f"llvm.bswap.{t}", t, (t, value))


def _double(f: Function, v: str) -> str:
    return f.value(f"bitcast i64 {v} to double")


def _float_binary(op: str) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        a, b = _double(f, v[0]), _double(f, v[1])
        return f.value(f"bitcast double {f.value(f'{op} double {a}, {b}')} to i64")

    return emit


def _fma(f: Function, e: Expr, v: list[str]) -> str:
    a, b, c = (("double", _double(f, x)) for x in v)
    return f.value(f"bitcast double {f.call('llvm.fma.f64', 'double', a, b, c)} to i64")


def _narrow(f: Function, e: Expr, v: list[str]) -> str:
    single = f.value(f"fptrunc double {_double(f, v[0])} to float")
    return f.value(f"bitcast float {single} to i32")


def _widen(f: Function, e: Expr, v: list[str]) -> str:
    single = f.value(f"bitcast i32 {v[0]} to float")
    return f.value(f"bitcast double {f.value(f'fpext float {single} to double')} to i64")


def _float_compare(predicate: str) -> Emit:
    def emit(f: Function, e: Expr, v: list[str]) -> str:
        return f.value(f"fcmp {predicate} double {_double(f, v[0])}, {_double(f, v[1])}")

    return emit


def _to_int(f: Function, e: Expr, v: list[str]) -> str:
    return f.value(f"fptosi double {_double(f, v[0])} to i32")


def _select(f: Function, e: Expr, v: list[str]) -> str:
    return f.value(f"select i1 {v[0]}, i{e.width} {v[1]}, i{e.width} {v[2]}")


EMIT: Final[dict[str, Emit]] = {
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "udiv": _binary("udiv"),
    "sdiv": _binary("sdiv"),
    "and": _binary("and"),
    "or": _binary("or"),
    "xor": _binary("xor"),
    "shl": _binary("shl"),
    "lshr": _binary("lshr"),
    "ashr": _binary("ashr"),
    "rotl": _rotl,
    "clz": _clz,
    "bswap": _bswap,
    "eq": _compare("eq"),
    "ltu": _compare("ult"),
    "lts": _compare("slt"),
    "select": _select,
    "choose": lambda f, e, v: f.expr(e),  # reached only through Function.expr, which branches
    "zext": _convert("zext"),
    "sext": _convert("sext"),
    "trunc": _convert("trunc"),
    "fadd64": _float_binary("fadd"),
    "fsub64": _float_binary("fsub"),
    "fmul64": _float_binary("fmul"),
    "fdiv64": _float_binary("fdiv"),
    "fma64": _fma,
    "fcvt64to32": _narrow,
    "fcvt32to64": _widen,
    "flt64": _float_compare("olt"),
    "feq64": _float_compare("oeq"),
    "fcvt_i32": _to_int,
    **VECTOR_EMIT,
}
