"""Stores to pages with decoded code: which of them change code, and what is forgotten then.

A page is looked at in lines of 32 bytes.  The bit of a line in `code_lines` is set where some entry
of it may be decoded: no bit, no code.  A data TLB line of such a page has the write tag with
`BESIDE` set, which no fast path matches; the slow path stores through it without another walk and
looks at the bits.  So whether a page has code changes nothing of what a guest sees, R and C bits
included, and data beside code cost little.

A page that holds data now, whose code nothing overwrites, would stay slow: after `PATIENCE` stores
all its entries are forgotten.  What is executed again is decoded again.
"""

from __future__ import annotations

from gossamer.engine.context import (
    BESIDE,
    DTLB_ENTRIES,
    EFFECT_CODES,
    ENTRY_STRIDE,
    JOURNAL_CODE,
    PATIENCE,
    WITH_REGIONS,
)
from gossamer.engine.emit import TB_ENTRY, TB_TLB
from gossamer.engine.runtime_fields import Text


def forgetting(w: Text) -> str:
    """Lines after which no word of arena page %page is decoded."""
    field = w.field
    return f"""{field("entries", "entries", "ptr")}
{field("code", "code", "ptr")}
  %po = mul i64 %page, {ENTRY_STRIDE}
  %pp = getelementptr i8, ptr %entries, i64 %po
  call void @fill_page(ptr %pp, ptr @h_decode)
  call void @end_chunk(ptr %cpu, ptr %pp, i64 {ENTRY_STRIDE})
  %off = shl i64 %page, 12
  %lines = call ptr @line_byte(ptr %cpu, i64 %off)
  store i128 0, ptr %lines, align 1{TB_TLB}
  %cp = getelementptr i8, ptr %code, i64 %page
  store i8 0, ptr %cp{TB_TLB}"""


def lines(w: Text) -> str:
    field = w.field
    return f"""
; Where the bit of the line of arena offset %off is: its byte.
define internal ptr @line_byte(ptr %cpu, i64 %off) nounwind alwaysinline {{
{field("code_lines", "lines", "ptr")}
  %n = lshr i64 %off, 8
  %p = getelementptr i8, ptr %lines, i64 %n
  ret ptr %p
}}
; The bit in that byte.
define internal i8 @line_bit(i64 %off) nounwind alwaysinline {{
  %n = lshr i64 %off, 5
  %t = trunc i64 %n to i8
  %k = and i8 %t, 7
  %b = shl i8 1, %k
  ret i8 %b
}}
; The word of arena offset %off is about to be decoded.
define internal void @note_code(ptr %cpu, i64 %off) nounwind alwaysinline {{
{field("code", "code", "ptr")}
  %p = call ptr @line_byte(ptr %cpu, i64 %off)
  %b = call i8 @line_bit(i64 %off)
  %old = load i8, ptr %p{TB_TLB}
  %new = or i8 %old, %b
  store i8 %new, ptr %p{TB_TLB}
  %page = lshr i64 %off, 12
  %cp = getelementptr i8, ptr %code, i64 %page
  %c = load i8, ptr %cp{TB_TLB}
  %first = icmp eq i8 %c, 0
  br i1 %first, label %protect, label %out
protect:
  store i8 1, ptr %cp{TB_TLB}
  call void @protect_page(ptr %cpu, i64 %page)
  %event = or i64 %page, {JOURNAL_CODE - (1 << 64)}
  call void @note(ptr %cpu, i64 %event)
  br label %out
out:
  ret void
}}
"""


#: What was written goes.
def written(w: Text) -> str:
    field = w.field
    return f"""
; %len bytes at arena offset %off were written, by a CPU or not: entries of its words are renewed.
define void @code_written(ptr %cpu, i64 %off, i64 %len) nounwind {{
entry:
{field("code", "code", "ptr")}
  %end = add i64 %off, %len
  %word = and i64 %off, -4
  %first = and i64 %off, -32
  br label %loop
loop:
  %at = phi i64 [ %first, %entry ], [ %next, %on ]
  %more = icmp ult i64 %at, %end
  br i1 %more, label %look, label %out
look:
  %page = lshr i64 %at, 12
  %cp = getelementptr i8, ptr %code, i64 %page
  %c = load i8, ptr %cp{TB_TLB}
  %has = icmp ne i8 %c, 0
  br i1 %has, label %line, label %skip
skip:
  %p1 = add i64 %page, 1
  %beyond = shl i64 %p1, 12
  br label %on
line:
  %next_line = add i64 %at, 32
  %p = call ptr @line_byte(ptr %cpu, i64 %at)
  %b = call i8 @line_bit(i64 %at)
  %bits = load i8, ptr %p{TB_TLB}
  %mine = and i8 %bits, %b
  %is = icmp ne i8 %mine, 0
  br i1 %is, label %forget, label %on, !prof !8
forget:
  %from = call i64 @llvm.umax.i64(i64 %word, i64 %at)
  %to = call i64 @llvm.umin.i64(i64 %end, i64 %next_line)
  call void @line_written(ptr %cpu, i64 %at, i64 %from, i64 %to)
  br label %on
on:
  %next = phi i64 [ %beyond, %skip ], [ %next_line, %line ], [ %next_line, %forget ]
  br label %loop
out:
  ret void
}}
; The words from %from up to %to of the line at %off were written.  `step`'s copies of the line end
; its chunk, which begins anew behind the store.
define internal void @line_written(ptr %cpu, i64 %off, i64 %from, i64 %to) nounwind noinline {{
entry:
{field("entries", "entries", "ptr")}
  %page = lshr i64 %off, 12
  %eo = mul i64 %page, {ENTRY_STRIDE}
  %in = and i64 %off, 4095
  %i4 = shl i64 %in, 2
  %eoff = add i64 %eo, %i4
  %line = getelementptr i8, ptr %entries, i64 %eoff
  br label %words
words:
  %at = phi i64 [ %from, %entry ], [ %next, %kept ]
  %more = icmp ult i64 %at, %to
  br i1 %more, label %look, label %copies
look:
  %d = sub i64 %at, %off
  %d4 = shl i64 %d, 2
  %e = getelementptr i8, ptr %line, i64 %d4
  %h = load ptr, ptr %e{TB_ENTRY}
  %undecoded = icmp eq ptr %h, @h_decode
  br i1 %undecoded, label %kept, label %gone
gone:
  call void @code_gone(ptr %cpu, i64 %at)
  store ptr @h_decode, ptr %e{TB_ENTRY}
  br label %kept
kept:
  %next = add i64 %at, 4
  br label %words
copies:
  call void @end_chunk(ptr %cpu, ptr %line, i64 128)
  br label %count
count:
  %n = phi i64 [ 0, %copies ], [ %n1, %count ]
  %some = phi i1 [ false, %copies ], [ %some1, %count ]
  %no = shl i64 %n, 4
  %le = getelementptr i8, ptr %line, i64 %no
  %lh = load ptr, ptr %le{TB_ENTRY}
  %is = icmp ne ptr %lh, @h_decode
  %some1 = or i1 %some, %is
  %n1 = add i64 %n, 1
  %again = icmp ult i64 %n1, 8
  br i1 %again, label %count, label %counted
counted:
  br i1 %some1, label %out, label %clear
clear:
  %p = call ptr @line_byte(ptr %cpu, i64 %off)
  %b = call i8 @line_bit(i64 %off)
  %old = load i8, ptr %p{TB_TLB}
  %without = xor i8 %b, -1
  %new = and i8 %old, %without
  store i8 %new, ptr %p{TB_TLB}
  %po = shl i64 %page, 12
  %first = call ptr @line_byte(ptr %cpu, i64 %po)
  %all = load i128, ptr %first, align 1{TB_TLB}
  %empty = icmp eq i128 %all, 0
  br i1 %empty, label %plain, label %out
plain:
{field("code", "code", "ptr")}
  %cp = getelementptr i8, ptr %code, i64 %page
  store i8 0, ptr %cp{TB_TLB}
  br label %out
out:
  ret void
}}
; Where `step` executes copies of the %bytes bytes of entries at %line: they lead out.
define internal void @end_chunk(ptr %cpu, ptr %line, i64 %bytes) nounwind {{
entry:
{field("chunk", "chunk", "i64")}
{field("chunk_bytes", "chunk_bytes", "i64")}
{field("chunk_copy", "chunk_copy", "ptr")}
  %start = ptrtoint ptr %line to i64
  br label %loop
loop:
  %at = phi i64 [ 0, %entry ], [ %next, %on ]
  %more = icmp ult i64 %at, %chunk_bytes
  br i1 %more, label %look, label %out
look:
  %e = add i64 %chunk, %at
  %place = sub i64 %e, %start
  %within = icmp ult i64 %place, %bytes
  br i1 %within, label %put, label %on
put:
  %copy = getelementptr i8, ptr %chunk_copy, i64 %at
  store ptr @h_exit, ptr %copy{TB_ENTRY}
  br label %on
on:
  %next = add i64 %at, 16
  br label %loop
out:
  ret void
}}
; The decoded word at arena offset %off changed: regions that contain it go first.
define internal void @code_gone(ptr %cpu, i64 %off) nounwind noinline {{
{field("ready", "flags", "ptr")}
  %page = lshr i64 %off, 12
  %fp = getelementptr i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp{TB_TLB}
  %regions = icmp eq i8 %f, {WITH_REGIONS}
  br i1 %regions, label %ask, label %out
ask:
  %word = lshr i64 %off, 2
  %arg = trunc i64 %word to i32
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["code"]}, i32 %arg)
  br label %out
out:
  ret void
}}
; Data were stored `PATIENCE` times beside the code of arena page %page.
define internal void @page_busy(ptr %cpu, i64 %page) nounwind noinline {{
{field("ready", "flags", "ptr")}
  %fp = getelementptr i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp{TB_TLB}
  %regions = icmp eq i8 %f, {WITH_REGIONS}
  br i1 %regions, label %ask, label %forget
ask:
  %arg = trunc i64 %page to i32
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["busy"]}, i32 %arg)
  %g = load i8, ptr %fp{TB_TLB}
  %kept = icmp eq i8 %g, {WITH_REGIONS}
  br i1 %kept, label %out, label %forget
forget:
{forgetting(w)}
  br label %out
out:
  ret void
}}
"""


#: Stores through a TLB line with `BESIDE`.
def stored(w: Text) -> str:
    field, ea = w.field, w.ea
    return f"""
; The host's address of the %size bytes at %ea where the data TLB knows them to be writable beside
; code, else null.
define internal ptr @beside(ptr %cpu, {ea} %ea, i32 %size) nounwind {{
{field("dtlb", "dtlb", "ptr")}
  %line = call ptr @data_line(ptr %dtlb, {ea} %ea)
  %tp = getelementptr i8, ptr %line, i64 {w.addresses.line.write}
  %tag = load {ea}, ptr %tp{TB_TLB}
{w.last("ea", "size")}
  %page = and {ea} %last, -4096
  %wanted = or {ea} %page, {BESIDE}
  %hit = icmp eq {ea} %wanted, %tag
  %ap = getelementptr i8, ptr %line, i64 {w.addend}
  %addend = load ptr, ptr %ap{TB_TLB}
{w.wide("wide", "ea")}
  %host = getelementptr i8, ptr %addend, i64 %wide
  %r = select i1 %hit, ptr %host, ptr null
  ret ptr %r
}}
define internal ptr @data_line(ptr %dtlb, {ea} %ea) nounwind alwaysinline {{
{w.line_offset("c", "ea", DTLB_ENTRIES)}
  %line = getelementptr i8, ptr %dtlb, i64 %c
  ret ptr %line
}}
; %size bytes at %ea have been stored at %host, through such a line.
define internal void @stored_beside(ptr %cpu, {ea} %ea, ptr %host, i32 %size) nounwind noinline {{
{field("arena", "arena", "i64")}
{field("code", "code", "ptr")}
  %hi = ptrtoint ptr %host to i64
  %off = sub i64 %hi, %arena
  %page = lshr i64 %off, 12
  %cp = getelementptr i8, ptr %code, i64 %page
  %c = load i8, ptr %cp{TB_TLB}
  %has = icmp ne i8 %c, 0
  br i1 %has, label %look, label %upgrade
upgrade:
{field("dtlb", "dtlb", "ptr")}
  %line = call ptr @data_line(ptr %dtlb, {ea} %ea)
  %tp = getelementptr i8, ptr %line, i64 {w.addresses.line.write}
  %tag = and {ea} %ea, -4096
  store {ea} %tag, ptr %tp{TB_TLB}
  %n0 = lshr {ea} %ea, 12
  %n1 = and {ea} %n0, {DTLB_ENTRIES - 1}
{w.wide("n", "n1")}
  call void @note_write_line(ptr %cpu, i64 %page, i64 %n)
  ret void
look:
{field("code_writes", "writes", "ptr")}
  %len = zext i32 %size to i64
  call void @code_written(ptr %cpu, i64 %off, i64 %len)
  %wp = getelementptr i16, ptr %writes, i64 %page
  %w = load i16, ptr %wp{TB_TLB}
  %w1 = add i16 %w, 1
  store i16 %w1, ptr %wp{TB_TLB}
  %low = and i16 %w1, {PATIENCE - 1}
  %many = icmp eq i16 %low, 0
  br i1 %many, label %busy, label %out, !prof !8
busy:
  call void @page_busy(ptr %cpu, i64 %page)
  br label %out
out:
  ret void
}}
"""


def code(w: Text) -> str:
    """Everything of this file."""
    return lines(w) + written(w) + stored(w)
