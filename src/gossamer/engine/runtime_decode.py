"""Predecoded entries: filling them on first execution.

See `handlers` for what an entry is, `runtime_code` for what is forgotten when code is written.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.context import EFFECT_CODES, ENTRY_STRIDE
from gossamer.engine.emit import CHAIN, TB_CPU, TB_ENTRY, TB_MEM, TB_TLB
from gossamer.engine.runtime_fields import Text, dispatch, handler, tail
from gossamer.engine.units import UNITS


def _word(w: Text) -> str:
    """Lines that make a word of what lies in page %page."""
    if not w.addresses.orders:
        return "  %word = call i32 @llvm.bswap.i32(i32 %raw)"
    return f"""{w.field("orders", "orders", "ptr")}
  %op = getelementptr i8, ptr %orders, i64 %page
  %order = load i8, ptr %op{TB_TLB}
  %little = icmp ne i8 %order, 0
  %big = call i32 @llvm.bswap.i32(i32 %raw)
  %word = select i1 %little, i32 %raw, i32 %big"""


#: What an entry leads to whose word is of a unit that is not there: it goes on there, or leaves.
MISSING: Final = "h_unit_"


def units() -> str:
    return "\n".join(
        f"""{handler(f"{MISSING}{n}")}
  %h = call ptr @unit_handler(ptr %cpu, ptr %e, i32 {n}, ptr @{MISSING}{n})
  %none = icmp eq ptr %h, null
  br i1 %none, label %out, label %go
go:
  musttail call {CHAIN} void %h(ptr %cpu, ptr %e, i64 %K)
  ret void
out:
{tail("h_asked_at")}
}}"""
        for n in range(1, len(UNITS))
    )


def decode(w: Text) -> str:
    field = w.field
    return f"""
{handler("h_decode")}
  call void @decode(ptr %cpu, ptr %e)
{dispatch("%e")}
}}
define void @decode(ptr %cpu, ptr %e) nounwind noinline {{
  call void @decode_into(ptr %cpu, ptr %e, ptr %e)
  call void @guard(ptr %cpu, ptr %e)
  ret void
}}
define internal void @decode_into(ptr %cpu, ptr %e, ptr %to) nounwind noinline {{
entry:
{field("entries", "entries", "ptr")}
{field("arena", "arena", "ptr")}
  %x = ptrtoint ptr %e to i64
  %y = ptrtoint ptr %entries to i64
  %off = sub i64 %x, %y
  %page = lshr i64 %off, 15
  %in = and i64 %off, {ENTRY_STRIDE - 1}
  %o = lshr i64 %in, 2
  %pb = shl i64 %page, 12
  %at = add i64 %pb, %o
  %wp = getelementptr i8, ptr %arena, i64 %at
  call void @note_code(ptr %cpu, i64 %at)
  %raw = load i32, ptr %wp, align 4{TB_MEM}
{_word(w)}
  call void @decode_word(ptr %cpu, i32 %word, i64 %o, ptr %to)
  ret void
}}
; Decodes %word, which lies %o bytes into its page, into entry %to.
define internal void @decode_word(ptr %cpu, i32 %word, i64 %o, ptr %to) nounwind {{
entry:
{field("decode_table", "table", "ptr")}
  %first = call ptr @row_of(ptr %table, i32 %word)
  %up = getelementptr i8, ptr %first, i64 12
  %unit = load i32, ptr %up
  %other = icmp ne i32 %unit, 0
  br i1 %other, label %there, label %found
there:
  %units = call ptr @unit_rows(ptr %cpu, i32 %unit)
  %none = icmp eq ptr %units, null
  br i1 %none, label %found, label %look
look:
  %second = call ptr @row_of(ptr %units, i32 %word)
  br label %found
found:
  %row = phi ptr [ %first, %entry ], [ %first, %there ], [ %second, %look ]
  %kp = getelementptr i8, ptr %row, i64 8
  %kind = load i32, ptr %kp
  %b1 = and i32 %word, 65532
  %b2 = shl i32 %b1, 16
  %b3 = ashr i32 %b2, 16
  %i1 = and i32 %word, 67108860
  %i2 = shl i32 %i1, 6
  %i3 = ashr i32 %i2, 6
  %isb = icmp eq i32 %kind, 1
  %d = select i1 %isb, i32 %b3, i32 %i3
  %o32 = trunc i64 %o to i32
  %target = add i32 %o32, %d
  %local = icmp ult i32 %target, 4096
  %lp = getelementptr i8, ptr %row, i64 16
  %lh = load ptr, ptr %lp
  %fp = getelementptr i8, ptr %row, i64 24
  %fh = load ptr, ptr %fp
  %h = select i1 %local, ptr %lh, ptr %fh
  store ptr %h, ptr %to{TB_ENTRY}
  %ep = getelementptr i8, ptr %to, i64 8
  store i32 %word, ptr %ep{TB_ENTRY}
  ; the operand fields, a byte each (handlers.OPERANDS)
  %f1 = lshr i32 %word, 21
  %f2 = and i32 %f1, 31
  %f3 = lshr i32 %word, 8
  %f4 = and i32 %f3, 7936
  %f5 = shl i32 %word, 5
  %f6 = and i32 %f5, 2031616
  %f7 = shl i32 %word, 18
  %f8 = and i32 %f7, 520093696
  %f9 = or i32 %f2, %f4
  %f10 = or i32 %f6, %f8
  %f11 = or i32 %f9, %f10
  %op12 = getelementptr i8, ptr %to, i64 12
  store i32 %f11, ptr %op12{TB_ENTRY}
  ret void
}}
; The row of a word in a decode table (`module.decode_rows`).
define internal ptr @row_of(ptr %table, i32 %word) nounwind noinline {{
entry:
  %op = lshr i32 %word, 26
  %opw = zext i32 %op to i64
  %tp = getelementptr ptr, ptr %table, i64 %opw
  %first = load ptr, ptr %tp
  br label %loop
loop:
  %row = phi ptr [ %first, %entry ], [ %nextrow, %more ]
  %mask = load i32, ptr %row
  %mp = getelementptr i8, ptr %row, i64 4
  %match = load i32, ptr %mp
  %w = and i32 %word, %mask
  %is = icmp eq i32 %w, %match
  br i1 %is, label %found, label %more
more:
  %nextrow = getelementptr i8, ptr %row, i64 32
  br label %loop
found:
  ret ptr %row
}}
; The decode table of a unit, null where it is not there yet.
define internal ptr @unit_rows(ptr %cpu, i32 %unit) nounwind alwaysinline {{
  %n = zext i32 %unit to i64
  %first = getelementptr i8, ptr %cpu, i64 {w.offset_of("units")}
  %p = getelementptr ptr, ptr %first, i64 %n
  %r = load ptr, ptr %p{TB_CPU}
  ret ptr %r
}}
; The handler of entry %e, whose word is of a unit that was not there when it was decoded; null
; where it cannot be had.  %mine is the entry's handler until then; another one there stays.
define internal ptr @unit_handler(ptr %cpu, ptr %e, i32 %unit, ptr %mine) nounwind noinline {{
entry:
  %to = alloca [16 x i8], align 16
  %before = call ptr @unit_rows(ptr %cpu, i32 %unit)
  %none = icmp eq ptr %before, null
  br i1 %none, label %ask, label %go
ask:
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["unit"]}, i32 %unit)
  %now = call ptr @unit_rows(ptr %cpu, i32 %unit)
  %still = icmp eq ptr %now, null
  br i1 %still, label %out, label %go
go:
  %wp = getelementptr i8, ptr %e, i64 8
  %word = load i32, ptr %wp{TB_ENTRY}
  call void @decode_word(ptr %cpu, i32 %word, i64 0, ptr %to)
  %h = load ptr, ptr %to{TB_ENTRY}
  %had = load ptr, ptr %e{TB_ENTRY}
  %is = icmp eq ptr %had, %mine
  br i1 %is, label %put, label %give
put:
  store ptr %h, ptr %e{TB_ENTRY}
  br label %give
give:
  ret ptr %h
out:
  ret ptr null
}}
{units()}
define ptr @tier0_handler(ptr %cpu, ptr %e) nounwind {{
  %to = alloca [16 x i8], align 16
  call void @decode_into(ptr %cpu, ptr %e, ptr %to)
  %h = load ptr, ptr %to{TB_ENTRY}
  ret ptr %h
}}
define internal void @fill_page(ptr %base, ptr %handler) nounwind {{
entry:
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %m, %loop ]
  %o = shl i64 %n, 4
  %p = getelementptr i8, ptr %base, i64 %o
  store ptr %handler, ptr %p{TB_ENTRY}
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, 1024
  br i1 %more, label %loop, label %out
out:
  %s = getelementptr i8, ptr %base, i64 16384
  store ptr @h_page_end, ptr %s{TB_ENTRY}
  ret void
}}
"""
