"""Floating point of a region: FPSCR is put off.

A region with such instructions is entered only while FPSCR rounds to nearest, inexact results do
not trap, and XX is set already.  Then an operation whose result lies in a safe range changes
nothing of FPSCR but FPRF, FR and FI, which the next one overwrites: the region keeps what the last
operation was (kind and operands), what the last compare found and what a conversion read, and
leaves them in the context where a block ends (of a short loop: where the loop ends), and on exits.
Tier 0 makes FPSCR of them when it is looked at (`runtime_float`).  Any other operand or result
leaves for tier 0's handler.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.emit import TB_CPU
from gossamer.engine.regions.code import Code
from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.memory import Memory
from gossamer.engine.regions.names import Names
from gossamer.engine.runtime_float import (
    ADD,
    CODE_SHIFT,
    COMPARED,
    CONVERTED,
    DIVIDE,
    FMA,
    MULTIPLY,
    ROUND,
)
from gossamer.isa.architecture import USUAL
from gossamer.isa.expr import Expr
from gossamer.isa.fpscr import RN, XE, XX
from gossamer.isa.softfloat.arith import NEGATE, NO_ADDEND, SINGLE, SUBTRACT
from gossamer.isa.softfloat.convert import integer_result
from gossamer.isa.spec.forms import A

#: Options of `softfloat_arith` by instruction.
OPTIONS: Final = {
    name + suffix: options | (SINGLE if suffix else 0)
    for suffix in ("", "s")
    for name, options in {
        "fadd": 0,
        "fsub": SUBTRACT,
        "fmul": NO_ADDEND,
        "fdiv": 0,
        "fmadd": 0,
        "fmsub": SUBTRACT,
        "fnmadd": NEGATE,
        "fnmsub": NEGATE | SUBTRACT,
    }.items()
}
#: What the last operation was, as a key of the record.
KIND: Final = ("fp_kind", 0)
#: Biased exponents between which a result raises nothing.
_DOUBLE_LOW, _DOUBLE_TOP = 2, 2046
_SINGLE_LOW, _SINGLE_TOP = 1023 - 125, 1023 + 127


class Floats(Memory):
    """Writes floating-point instructions with FPSCR put off."""

    def __init__(self, intrinsics: set[str], region: Region, names: Names) -> None:
        super().__init__(intrinsics, region, names)
        self.puts_off = any(code.put_off for code in region.codes())

    # --- the record ---

    def _add_to_kind(self, mask: int, bits: str) -> None:
        """Something after the last operation: `bits` (i32) in the place of `mask`."""
        is_kept = KIND in self.now or self.is_tight
        kind = self.read(KIND) if is_kept else self.field("fp_kind", "i32")
        kept = self.value(f"and i32 {kind}, {~mask}")
        self.write(KIND, self.value(f"or i32 {kept}, {bits}"))

    def allowed(self) -> str:
        """Whether FPSCR is one that can be put off, at the region's entry."""
        fpscr = self.value(f"load i32, ptr {self.register('fpscr', _ZERO)}{TB_CPU}")
        bits = self.value(f"and i32 {fpscr}, {RN | XE | XX}")
        return self.value(f"icmp eq i32 {bits}, {XX}")

    # --- instructions ---

    def put_off(self, code: Code) -> None:
        """Write a floating-point instruction of `code.PUT_OFF`."""
        assert code.row is not None
        name = code.row.name
        if name == "fcmpu":
            self._compare(code.word)
        elif name == "fctiwz":
            self._convert(code.word)
        else:
            self._arithmetic(name, A(_word(code.word)))

    def _operand(self, field: Expr) -> str:
        return self.read(("fpr", field.value))

    def _write_float(self, number: int, value: str) -> None:
        self.write(("fpr", number), value)
        if self.addresses.width != USUAL:
            self.write(("vsl", number), "0")

    def _arithmetic(self, name: str, i: A) -> None:
        options = OPTIONS.get(name, SINGLE)
        zero = None
        if name == "frsp":
            result = self._operand(i.FRB)
            kind, parts = ROUND, {"fp_b": result}
        elif name in ("fdiv", "fdivs"):
            a, b = self._operand(i.FRA), self._operand(i.FRB)
            result = self.value(f"fdiv double {a}, {b}")
            kind, parts = DIVIDE | options, {"fp_a": a, "fp_b": b}
        elif options & NO_ADDEND:
            a, c = self._operand(i.FRA), self._operand(i.FRC)
            result, zero = self.value(f"fmul double {a}, {c}"), [a, c]
            kind, parts = MULTIPLY | options, {"fp_a": a, "fp_c": c}
        elif name in ("fadd", "fadds", "fsub", "fsubs"):
            operation = "fsub" if options & SUBTRACT else "fadd"
            a, b = self._operand(i.FRA), self._operand(i.FRB)
            result, zero = self.value(f"{operation} double {a}, {b}"), []
            kind, parts = ADD | options, {"fp_a": a, "fp_b": b}
        else:
            a, c, b = (self._operand(f) for f in (i.FRA, i.FRC, i.FRB))
            addend = self.value(f"fneg double {b}") if options & SUBTRACT else b
            result = self.call("llvm.fma.f64", "double", *(("double", x) for x in (a, c, addend)))
            kind, parts = FMA | options, {"fp_a": a, "fp_c": c, "fp_b": b}
        single = bool(options & SINGLE)
        self._in_range(result, single, zero)
        if single:
            result = self._to_single(result, exact=name == "frsp")
        if options & NEGATE:
            result = self.value(f"fneg double {result}")
        self._write_float(i.FRT.value, result)
        for operand, value in parts.items():
            self.write((operand, 0), value)
        self.write(KIND, str(kind))

    def _in_range(self, result: str, single: bool, zero: list[str] | None) -> None:
        """Leave unless the result is in the safe range, or an exact zero where `zero` allows it.

        A zero is exact when one of the factors in `zero` is; an empty list: always.
        """
        low, top = (_SINGLE_LOW, _SINGLE_TOP) if single else (_DOUBLE_LOW, _DOUBLE_TOP)
        # Of the upper word without its sign: bounds are powers of two, and 32-bit constants small.
        bits = self.value(f"bitcast double {result} to i64")
        upper = self.value(f"trunc i64 {self.value(f'lshr i64 {bits}, 32')} to i32")
        twice = self.value(f"shl i32 {upper}, 1")
        above = self.value(f"sub i32 {twice}, {low << 21}")
        inside = self.value(f"icmp ult i32 {above}, {top - low << 21}")
        if zero is None:
            self.only_if(inside)
            return
        on, odd = self.label("on"), self.label("odd")
        leave = self.exit_here()
        self.line(f"br i1 {inside}, label %{on}, label %{odd}, !prof !9")

        def body() -> None:
            is_zero = self.value(f"fcmp oeq double {result}, 0.0")
            if zero:
                x, y = (self.value(f"fcmp oeq double {v}, 0.0") for v in zero)
                is_zero = self.value(f"and i1 {is_zero}, {self.value(f'or i1 {x}, {y}')}")
            self.line(f"br i1 {is_zero}, label %{on}, label %{leave}")

        self.aside(odd, body)
        self.start(on)

    def _to_single(self, result: str, *, exact: bool) -> str:
        """Round a double on to single; leave where rounding twice could be wrong."""
        if not exact:
            bits = self.value(f"bitcast double {result} to i64")
            low = self.value(f"and i64 {bits}, {(1 << 29) - 1}")
            self.only_if(self.value(f"icmp ne i64 {low}, {1 << 28}"))
        narrow = self.value(f"fptrunc double {result} to float")
        return self.value(f"fpext float {narrow} to double")

    def _compare(self, word: int) -> None:
        i = A(_word(word))
        a, b = self._operand(i.FRA), self._operand(i.FRB)
        self.only_if(self.value(f"fcmp ord double {a}, {b}"))
        less, greater = (self.value(f"fcmp {p} double {a}, {b}") for p in ("olt", "ogt"))
        rest = self.value(f"select i1 {greater}, i8 4, i8 2")
        code = self.value(f"select i1 {less}, i8 8, i8 {rest}")
        self.write(("crf", word >> 23 & 7), code)
        wide = self.value(f"zext i8 {code} to i32")
        shifted = self.value(f"shl i32 {wide}, {CODE_SHIFT}")
        mask = COMPARED | 15 << CODE_SHIFT
        self._add_to_kind(mask, self.value(f"or i32 {shifted}, {COMPARED}"))

    def _convert(self, word: int) -> None:
        i = A(_word(word))
        b, bits = self._operand(i.FRB), self.bits(i.FRB.value)
        size = self.call("llvm.fabs.f64", "double", ("double", b))
        self.only_if(self.value(f"fcmp olt double {size}, 0x41E0000000000000"))
        number, negative = Expr("arg", 32, (), 0), Expr("arg", 1, (), 1)
        self.memo = {
            number: self.value(f"fptosi double {b} to i32"),
            negative: self.value(f"icmp slt i64 {bits}, 0"),
        }
        result = self.expr(integer_result(number, negative))
        self._write_float(i.FRT.value, self.value(f"bitcast i64 {result} to double"))
        self.write(("fp_convert", 0), b)
        self._add_to_kind(CONVERTED, str(CONVERTED))


_ZERO: Final = Expr("const", 32, (), 0)


def _word(word: int) -> Expr:
    return Expr("const", 32, (), word)
