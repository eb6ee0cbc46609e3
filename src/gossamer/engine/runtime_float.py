"""FPSCR put off: what regions leave in the context, and making FPSCR of it.

The record holds the last operation (kind and operands), the last compare's code and what a
conversion read since.  `float_settle` gives FPSCR its value; handlers that look at FPSCR call it
first, and so does `run` before it comes back.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.runtime_fields import Text

#: `fp_kind`: 0 when nothing is put off; the options of `isa.softfloat.arith` in its low bits, the
#: operation (by which of `fp_a`, `fp_c`, `fp_b` it has), what came after it.
DIVIDE, ROUND, FMA, ADD, MULTIPLY = 0x100, 0x200, 0x400, 0x800, 0x1000
CONVERTED, COMPARED = 0x4000, 0x8000
#: Where the code of a compare lies.
CODE_SHIFT: Final = 16
_ONE: Final = 1023 << 52


def float_settling(w: Text) -> str:
    field, store = w.field, w.store
    return f"""
define hidden void @float_settle(ptr %cpu) nounwind noinline {{
entry:
{field("fpscr", "fpscr", "i32")}
{field("fp_kind", "kind", "i32")}
{field("fp_a", "a", "i64")}
{field("fp_c", "c", "i64")}
{field("fp_b", "b", "i64")}
{field("fp_convert", "operand", "i64")}
  %obits = and i32 %kind, {DIVIDE | ROUND | FMA | ADD | MULTIPLY}
  %none = icmp eq i32 %obits, 0
  br i1 %none, label %after, label %some
some:
  %low = and i32 %kind, 15
  %options = trunc i32 %low to i8
  %rbit = and i32 %kind, {ROUND}
  %is_round = icmp ne i32 %rbit, 0
  br i1 %is_round, label %round, label %more
round:
  %x1 = call i128 @service_float_round(i64 %b, i32 %fpscr)
  br label %got
more:
  %dbit = and i32 %kind, {DIVIDE}
  %is_divide = icmp ne i32 %dbit, 0
  br i1 %is_divide, label %divide, label %fma
divide:
  %x2 = call i128 @service_float_divide(i64 %a, i64 %b, i32 %fpscr, i8 %options)
  br label %got
fma:
  %abit = and i32 %kind, {ADD}
  %is_add = icmp ne i32 %abit, 0
  %factor = select i1 %is_add, i64 {_ONE}, i64 %c
  %mbit = and i32 %kind, {MULTIPLY}
  %is_multiply = icmp ne i32 %mbit, 0
  %addend = select i1 %is_multiply, i64 0, i64 %b
  %x3 = call i128 @service_float_fma(i64 %a, i64 %factor, i64 %addend, i32 %fpscr, i8 %options)
  br label %got
got:
  %x = phi i128 [ %x1, %round ], [ %x2, %divide ], [ %x3, %fma ]
  %xh = lshr i128 %x, 64
  %made = trunc i128 %xh to i32
  br label %after
after:
  %f0 = phi i32 [ %fpscr, %entry ], [ %made, %got ]
  ; FPCC of a compare
  %cbit = and i32 %kind, {COMPARED}
  %compared = icmp ne i32 %cbit, 0
  %f1 = and i32 %f0, -61441
  %code0 = lshr i32 %kind, {CODE_SHIFT}
  %code = and i32 %code0, 15
  %f2 = shl i32 %code, 12
  %f3 = or i32 %f1, %f2
  %f4 = select i1 %compared, i32 %f3, i32 %f0
  ; FR and FI of a conversion towards zero
  %vbit = and i32 %kind, {CONVERTED}
  %converted = icmp ne i32 %vbit, 0
  %e0 = lshr i64 %operand, 52
  %e1 = and i64 %e0, 2047
  %e2 = sub i64 %e1, 1023
  %below = icmp slt i64 %e2, 0
  %e3 = add i64 %e2, 12
  %e4 = and i64 %e3, 63
  %shift = select i1 %below, i64 1, i64 %e4
  %rest = shl i64 %operand, %shift
  %inexact = icmp ne i64 %rest, 0
  %f5 = and i32 %f4, -393217
  %fi = select i1 %inexact, i32 131072, i32 0
  %f6 = or i32 %f5, %fi
  %f7 = select i1 %converted, i32 %f6, i32 %f4
{store("fpscr", "i32", "%f7")}
{store("fp_kind", "i32", "0")}
  ret void
}}
define internal void @float_settle_pending(ptr %cpu) nounwind {{
{field("fp_kind", "pending", "i32")}
  %is = icmp ne i32 %pending, 0
  br i1 %is, label %do, label %out, !prof !8
do:
  call void @float_settle(ptr %cpu)
  br label %out
out:
  ret void
}}
"""
