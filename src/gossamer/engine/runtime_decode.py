"""Predecoded entries: filling them on first execution.

See `handlers` for what an entry is, `runtime_code` for what is forgotten when code is written.
"""

from __future__ import annotations

from gossamer.engine.context import ENTRY_STRIDE
from gossamer.engine.emit import TB_ENTRY, TB_MEM, TB_TLB
from gossamer.engine.runtime_fields import Text, dispatch, handler


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
