"""Where Python enters native code: whole runs, exact steps, single actions."""

from __future__ import annotations

from gossamer.engine.context import CHUNK, ENTRY
from gossamer.engine.emit import CHAIN, TB_ENTRY, TB_TLB
from gossamer.engine.runtime_fields import Text


def entries(w: Text) -> str:
    """What Python calls once, and between two runs."""
    ea = w.ea
    return f"""
define void @prepare(ptr %cpu) nounwind {{
  %p = getelementptr i8, ptr %cpu, i64 {w.offset_of("decode_table")}
  store ptr @decode_rows, ptr %p
  %q = getelementptr i8, ptr %cpu, i64 {w.offset_of("entries_end")}
  %base = load ptr, ptr %q
  call void @fill_page(ptr %base, ptr @h_illegal)
  call void @prepare_part(ptr %cpu)
  ret void
}}
define void @interrupt(ptr %cpu, {ea} %vector, {ea} %srr0, {ea} %srr1) nounwind {{
  call void @enter(ptr %cpu, {ea} %vector, {ea} %srr0, {ea} %srr1)
  ret void
}}
"""


#: `run(cpu, left)`: executes until the budget (`left` / 16 instructions, then `more` / 16 in
#: slices) has ended at a taken branch, or an exit was asked for; the field `left` says what is
#: left then (negative: overrun, at most a page of instructions).
def run() -> str:
    return f"""
define void @run(ptr %cpu, i64 %left) nounwind {{
  call {CHAIN} void @h_jump(ptr %cpu, ptr null, i64 %left)
  call void @float_settle_pending(ptr %cpu)
  ret void
}}
"""


#: `step(cpu, count)`: executes `count` instructions and not one more; fewer when an exit is asked
#: for.  Entries are copied to the scratch page, a chunk at a time, and end in `h_exit` there; the
#: budget is zero, so that every taken branch ends the chunk too.  `code_written` puts `h_exit` in
#: place of a copied entry whose word is written.  Regions are never copied: their place takes the
#: handler of its word.
def step(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
define void @step(ptr %cpu, i64 %count) nounwind {{
entry:
{field("end_count", "end", "i64")}
{field("scratch", "scratch", "ptr")}
{store("more", "i64", "0")}
  %start = sub i64 %end, %count
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %isi ], [ %n2, %execute ]
{field("exit_request", "stop", "i32")}
  %s = icmp ne i32 %stop, 0
  %enough = icmp sge i64 %n, %count
  %leave = or i1 %s, %enough
  br i1 %leave, label %out, label %look
look:
  %here = add i64 %start, %n
{store("end_count", "i64", "%here")}
  %line = call ptr @fetch_line(ptr %cpu)
  %bad = icmp eq ptr %line, null
  br i1 %bad, label %isi, label %go
isi:
  %n1 = add i64 %n, 1
  br label %loop
go:
{field("nia", "nia", ea)}
  %w = getelementptr i8, ptr %line, i64 {w.addend}
  %base = load ptr, ptr %w{TB_TLB}
  %page = and {ea} %nia, -4096
{store("fpage", ea, "%page")}
  %low = and {ea} %nia, 4092
  %sh = shl {ea} %low, 2
{w.wide("o", "sh")}
  %first = getelementptr i8, ptr %base, i64 %o
  %stopped = call i1 @stops_at(ptr %cpu, ptr %first, {ea} %nia)
  br i1 %stopped, label %loop_end, label %chunk
loop_end:
  br label %out
chunk:
  %to = getelementptr i8, ptr %scratch, i64 %o
  %rest = sub i64 %count, %n
  %in_page = sub i64 {4096 * ENTRY // 4}, %o
  %in_page16 = lshr i64 %in_page, 4
  %c1 = call i64 @llvm.umin.i64(i64 %rest, i64 %in_page16)
  %c2 = call i64 @llvm.umin.i64(i64 %c1, i64 {CHUNK})
  %most = shl i64 %c2, 4
  %bytes = call i64 @copy_chunk(ptr %cpu, ptr %first, ptr %to, i64 %most)
  %sentinel = getelementptr i8, ptr %to, i64 %bytes
  store ptr @h_exit, ptr %sentinel{TB_ENTRY}
  %fi = ptrtoint ptr %first to i64
{store("chunk", "i64", "%fi")}
{store("chunk_copy", "ptr", "%to")}
{store("chunk_bytes", "i64", "%bytes")}
  br label %execute
execute:
  %k = ptrtoint ptr %to to i64
  %h = load ptr, ptr %to{TB_ENTRY}
  call {CHAIN} void %h(ptr %cpu, ptr %to, i64 %k)
{store("chunk_bytes", "i64", "0")}
{field("left", "left", "i64")}
  %over = sub i64 0, %left
  %did = lshr i64 %over, 4
  %n2 = add i64 %n, %did
  br label %loop
out:
{store("end_count", "i64", "%end")}
  %undone = sub i64 %count, %n
  %undone16 = shl i64 %undone, 4
{store("left", "i64", "%undone16")}
  ret void
}}

; Copies tier 0's form of the entries from %e on to %to, up to %most bytes or to the second one that
; is not decoded yet; how many bytes (at least one entry).
define internal i64 @copy_chunk(ptr %cpu, ptr %e, ptr %to, i64 %most) nounwind {{
entry:
{field("region_base", "regions", "i64")}
{field("region_size", "regions_size", "i64")}
  br label %loop
loop:
  %at = phi i64 [ 0, %entry ], [ %next, %on ]
  %more = icmp ult i64 %at, %most
  br i1 %more, label %look, label %out
look:
  %from = getelementptr i8, ptr %e, i64 %at
  %copy = getelementptr i8, ptr %to, i64 %at
  %h = load ptr, ptr %from{TB_ENTRY}
  %raw = icmp eq ptr %h, @h_decode
  %begun = icmp ne i64 %at, 0
  %guarded = icmp eq ptr %h, @h_break
  %special = or i1 %raw, %guarded
  %end = and i1 %special, %begun
  br i1 %end, label %out, label %which
which:
  br i1 %raw, label %first, label %decoded
first:
  call void @decode(ptr %cpu, ptr %from)
  %made = load ptr, ptr %from{TB_ENTRY}
  br label %take
decoded:
  %hi = ptrtoint ptr %h to i64
  %place = sub i64 %hi, %regions
  %region = icmp ult i64 %place, %regions_size
  %not_own = or i1 %region, %guarded
  br i1 %not_own, label %make, label %take
make:
  call void @decode_into(ptr %cpu, ptr %from, ptr %copy)
  br label %on
take:
  %own = phi ptr [ %made, %first ], [ %h, %decoded ]
  store ptr %own, ptr %copy{TB_ENTRY}
  %op = getelementptr i8, ptr %from, i64 8
  %word = load i64, ptr %op{TB_ENTRY}
  %cp = getelementptr i8, ptr %copy, i64 8
  store i64 %word, ptr %cp{TB_ENTRY}
  br label %on
on:
  %next = add i64 %at, {ENTRY}
  br label %loop
out:
  ret i64 %at
}}

; The fetch TLB's line of the page at NIA; null when the fetch faults (the interrupt is taken then).
define internal ptr @fetch_line(ptr %cpu) nounwind {{
{field("nia", "nia", ea)}
  %known = call ptr @fetch_known(ptr %cpu, {ea} %nia)
  %hit = icmp ne ptr %known, null
  br i1 %hit, label %found, label %miss
found:
  ret ptr %known
miss:
  %filled = call ptr @fetch_miss(ptr %cpu)
  ret ptr %filled
}}
"""
