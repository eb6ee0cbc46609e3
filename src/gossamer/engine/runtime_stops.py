"""Breakpoints and watchpoints of a debugger, in native code.

A breakpoint is an effective address, in whatever address space.  Entries at its offset, in every
page, have the handler `h_break`, which compares.  A watched page never gets a line of the data TLB,
so that its accesses take the slow paths; those note what they met after it succeeded.
"""

from __future__ import annotations

from gossamer.engine.context import BREAK, ENTRY_STRIDE
from gossamer.engine.emit import CHAIN, TB_ENTRY, TB_MEM
from gossamer.engine.runtime_fields import Text, handler, tail


def stops(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
; Whether a debugger stops before the instruction at %ea; says so if it does.
define internal i1 @break_at(ptr %cpu, {ea} %ea) nounwind noinline {{
entry:
{field("break_count", "count", "i32")}
{field("breaks", "breaks", "ptr")}
{field("break_passed", "passed", "i64")}
  br label %loop
loop:
  %n = phi i32 [ 0, %entry ], [ %n1, %next ]
  %more = icmp ult i32 %n, %count
  br i1 %more, label %look, label %no
look:
  %i = zext i32 %n to i64
  %p = getelementptr {ea}, ptr %breaks, i64 %i
  %b = load {ea}, ptr %p{TB_MEM}
  %is = icmp eq {ea} %b, %ea
  %n1 = add i32 %n, 1
  br i1 %is, label %found, label %next
next:
  br label %loop
found:
{w.wide("wide", "ea")}
  %once = icmp eq i64 %wide, %passed
  br i1 %once, label %pass, label %stop
pass:
{store("break_passed", "i64", "-1")}
  br label %no
stop:
{store("met", "i32", str(BREAK))}
{store("met_ea", ea, "%ea")}
{store("exit_request", "i32", "1")}
  ret i1 true
no:
  ret i1 false
}}
{handler("h_break", "hidden ")}
  %cia = call {ea} @cia_of(ptr %cpu, ptr %e)
  %here = call i1 @break_at(ptr %cpu, {ea} %cia)
  br i1 %here, label %stop, label %go
stop:
{tail("h_exit")}
go:
  %h = call ptr @tier0_handler(ptr %cpu, ptr %e)
  musttail call {CHAIN} void %h(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
; An entry that has just been decoded: a breakpoint may be at its offset.
define internal void @guard(ptr %cpu, ptr %e) nounwind {{
{field("break_offsets", "offsets", "ptr")}
  %none = icmp eq ptr %offsets, null
  br i1 %none, label %out, label %look
look:
  %x = ptrtoint ptr %e to i64
  %in = and i64 %x, {ENTRY_STRIDE - 1}
  %n = lshr i64 %in, 4
  %p = getelementptr i8, ptr %offsets, i64 %n
  %b = load i8, ptr %p{TB_MEM}
  %is = icmp ne i8 %b, 0
  br i1 %is, label %put, label %out
put:
  store ptr @h_break, ptr %e{TB_ENTRY}
  br label %out
out:
  ret void
}}
; The same for `step`: whether it ends before entry %e, whose address is %ea.
define internal i1 @stops_at(ptr %cpu, ptr %e, {ea} %ea) nounwind {{
{field("break_offsets", "offsets", "ptr")}
  %none = icmp eq ptr %offsets, null
  br i1 %none, label %no, label %look
look:
  %h = load ptr, ptr %e{TB_ENTRY}
  %raw = icmp eq ptr %h, @h_decode
  br i1 %raw, label %first, label %known
first:
  call void @decode(ptr %cpu, ptr %e)
  br label %known
known:
  %g = load ptr, ptr %e{TB_ENTRY}
  %guarded = icmp eq ptr %g, @h_break
  br i1 %guarded, label %ask, label %no
ask:
  %r = call i1 @break_at(ptr %cpu, {ea} %ea)
  ret i1 %r
no:
  ret i1 false
}}
; Whether a byte of the page of %ea is watched.
define internal i1 @watches_page(ptr %cpu, {ea} %ea) nounwind {{
entry:
{field("watch_count", "count", "i32")}
  %some = icmp ne i32 %count, 0
  br i1 %some, label %begin, label %no
begin:
{field("watches", "watches", "ptr")}
  %page = and {ea} %ea, -4096
  br label %loop
loop:
  %n = phi i32 [ 0, %begin ], [ %n1, %next ]
  %i = zext i32 %n to i64
  %o = shl i64 %i, 4
  %p = getelementptr i8, ptr %watches, i64 %o
  %first = load {ea}, ptr %p{TB_MEM}
  %lp = getelementptr i8, ptr %p, i64 {w.addresses.width // 8}
  %length = load i32, ptr %lp{TB_MEM}
  %l1 = sub i32 %length, 1
{w.grow("l1")}
  %last = add {ea} %first, {w.as_("l1")}
  %from = and {ea} %first, -4096
  %span = sub {ea} %last, %from
  %at = sub {ea} %page, %from
  %in = icmp ule {ea} %at, %span
  br i1 %in, label %yes, label %next
next:
  %n1 = add i32 %n, 1
  %more = icmp ult i32 %n1, %count
  br i1 %more, label %loop, label %no
yes:
  ret i1 true
no:
  ret i1 false
}}
; An access of %size bytes at %ea has succeeded (%kinds 1: load, 2: store).
define internal void @note_access(ptr %cpu, {ea} %ea, i32 %size, i32 %kinds) nounwind {{
entry:
{field("watch_count", "count", "i32")}
  %some = icmp ne i32 %count, 0
  br i1 %some, label %begin, label %out
begin:
{field("watches", "watches", "ptr")}
  br label %loop
loop:
  %n = phi i32 [ 0, %begin ], [ %n1, %next ]
  %i = zext i32 %n to i64
  %o = shl i64 %i, 4
  %p = getelementptr i8, ptr %watches, i64 %o
  %first = load {ea}, ptr %p{TB_MEM}
  %lp = getelementptr i8, ptr %p, i64 {w.addresses.width // 8}
  %length = load i32, ptr %lp{TB_MEM}
  %kp = getelementptr i8, ptr %p, i64 {w.addresses.width // 8 + 4}
  %wanted = load i32, ptr %kp{TB_MEM}
  %d1 = sub {ea} %ea, %first
{w.grow("length")}
  %in1 = icmp ult {ea} %d1, {w.as_("length")}
  %d2 = sub {ea} %first, %ea
{w.grow("size")}
  %in2 = icmp ult {ea} %d2, {w.as_("size")}
  %touch = or i1 %in1, %in2
  %k = and i32 %wanted, %kinds
  %likes = icmp ne i32 %k, 0
  %is = and i1 %touch, %likes
  br i1 %is, label %found, label %next
next:
  %n1 = add i32 %n, 1
  %more = icmp ult i32 %n1, %count
  br i1 %more, label %loop, label %out
found:
  %kind = add i32 %kinds, 1
{store("met", "i32", "%kind")}
{store("met_ea", ea, "%first")}
{store("exit_request", "i32", "1")}
  br label %out
out:
  ret void
}}
"""
