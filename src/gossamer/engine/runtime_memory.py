"""The data TLB: what it knows, and how it is filled."""

from __future__ import annotations

from gossamer.cpu.translation import WIMG_I, WIMG_W
from gossamer.engine.context import BESIDE, DTLB_ENTRIES, NO_TAG
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_fields import Text
from gossamer.engine.runtime_slb import note_side


def memory(w: Text) -> str:
    field, ea, ra, x = w.field, w.ea, w.ra, w.x
    return f"""
; The host's address of the %size bytes at %ea if the data TLB knows it, else null; %tag is 0 for
; loads, 4 for stores.
define internal ptr @data_known(ptr %cpu, {ea} %ea, i32 %size, i64 %tag) nounwind {{
{field("dtlb", "dtlb", "ptr")}
{w.line_offset("c", "ea", DTLB_ENTRIES)}
  %line = getelementptr i8, ptr %dtlb, i64 %c
  %tp = getelementptr i8, ptr %line, i64 %tag
  %t = load {ea}, ptr %tp{TB_TLB}
{w.last("ea", "size")}
  %page = and {ea} %last, -4096
  %hit = icmp eq {ea} %page, %t
  %ap = getelementptr i8, ptr %line, i64 {w.addend}
  %addend = load ptr, ptr %ap{TB_TLB}
{w.wide("wide", "ea")}
  %host = getelementptr i8, ptr %addend, i64 %wide
  %r = select i1 %hit, ptr %host, ptr null
  ret ptr %r
}}
; Puts the page of %ea, which %x translates (see `translation_functions`), into the data TLB.
; Nothing is put where no RAM is, with `bypass`, and for a page with a watchpoint.  The write tag is
; set only where C is set and the page is dirty for every client; with code in it, with `BESIDE`.
define internal void @fill(ptr %cpu, {ea} %ea, {x} %x) nounwind {{
{field("bypass", "bypass", "i32")}
  %ra = trunc {x} %x to {ra}
  %page = call i32 @page_of(ptr %cpu, {ra} %ra)
  %none = icmp eq i32 %page, -1
  %by = icmp ne i32 %bypass, 0
  %seen = call i1 @watches_page(ptr %cpu, {ea} %ea)
  %slow = or i1 %by, %seen
  %skip0 = or i1 %none, %slow
  %keeps = call i1 @keeps_line({x} %x)
  %skip = select i1 %keeps, i1 %skip0, i1 true
  br i1 %skip, label %out, label %do
do:
{field("dtlb", "dtlb", "ptr")}
{field("dused", "dused", "ptr")}
{field("code", "code", "ptr")}
{field("dirty", "dirty", "ptr")}
  %eapage = and {ea} %ea, -4096
{w.line_offset("c", "ea", DTLB_ENTRIES)}
  %line = getelementptr i8, ptr %dtlb, i64 %c
  %rapage = and {ra} %ra, -4096
  %host = call ptr @host_of(ptr %cpu, i32 %page, {ra} %rapage)
{w.wide("ez", "eapage")}
  %neg = sub i64 0, %ez
  %addend = getelementptr i8, ptr %host, i64 %neg
  %i = and i32 %page, 2147483647
  %j = zext i32 %i to i64
  %cp = getelementptr i8, ptr %code, i64 %j
  %cv = load i8, ptr %cp{TB_TLB}
  %nocode = icmp eq i8 %cv, 0
  %dp = getelementptr i8, ptr %dirty, i64 %j
  %dv = load i8, ptr %dp{TB_TLB}
  %isdirty = icmp eq i8 %dv, -1
  %ram = icmp sgt i32 %page, -1
  %wbit = and {x} %x, {16 << w.up}
  %may = icmp ne {x} %wbit, 0
  %beside = or {ea} %eapage, {BESIDE}
  %writable = select i1 %nocode, {ea} %eapage, {ea} %beside
  %w1 = and i1 %isdirty, %ram
  %w = and i1 %w1, %may
  %tagw = select i1 %w, {ea} %writable, {ea} {NO_TAG}
  call void @use_line(ptr %dused, i64 %c)
{note_side(w, "ea", 0)}  %n = lshr i64 %c, {w.addresses.line_log}
  %flags = getelementptr i8, ptr %dtlb, i64 {w.addresses.tables.dtlb_flags}
  %fp = getelementptr i8, ptr %flags, i64 %n
  %wi = and {x} %x, {(WIMG_W | WIMG_I) << w.up}
  %wi_set = icmp ne {x} %wi, 0
  %flag = zext i1 %wi_set to i8
  store i8 %flag, ptr %fp{TB_TLB}
  br i1 %w, label %note, label %put
note:
  call void @note_write_line(ptr %cpu, i64 %j, i64 %n)
  br label %put
put:
  store {ea} %eapage, ptr %line{TB_TLB}
  %tp = getelementptr i8, ptr %line, i64 {w.addresses.line.write}
  store {ea} %tagw, ptr %tp{TB_TLB}
  %ap = getelementptr i8, ptr %line, i64 {w.addend}
  store ptr %addend, ptr %ap{TB_TLB}
  br label %out
out:
  ret void
}}
"""
