"""The data TLB: what it knows, and how it is filled."""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import WIMG_I, WIMG_W
from gossamer.engine.context import BESIDE, DTLB_ENTRIES, DTLB_FLAGS, NO_TAG
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_fields import field

MEMORY: Final = f"""
; The host's address of the %size bytes at %ea if the data TLB knows it, else null; %tag is 0 for
; loads, 4 for stores.
define internal ptr @data_known(ptr %cpu, i32 %ea, i32 %size, i64 %tag) nounwind {{
{field("dtlb", "dtlb", "ptr")}
  %a = lshr i32 %ea, 8
  %b = and i32 %a, {(DTLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %dtlb, i64 %c
  %tp = getelementptr i8, ptr %line, i64 %tag
  %t = load i32, ptr %tp{TB_TLB}
  %s1 = sub i32 %size, 1
  %last = add i32 %ea, %s1
  %page = and i32 %last, -4096
  %hit = icmp eq i32 %page, %t
  %ap = getelementptr i8, ptr %line, i64 8
  %addend = load ptr, ptr %ap{TB_TLB}
  %wide = zext i32 %ea to i64
  %host = getelementptr i8, ptr %addend, i64 %wide
  %r = select i1 %hit, ptr %host, ptr null
  ret ptr %r
}}
; Puts the page of %ea, which %x translates (see `translation_functions`), into the data TLB.
; Nothing is put where no RAM is, with `bypass`, and for a page with a watchpoint.  The write tag is
; set only where C is set and the page is dirty for every client; with code in it, with `BESIDE`.
define internal void @fill(ptr %cpu, i32 %ea, i64 %x) nounwind {{
{field("bypass", "bypass", "i32")}
  %ra = trunc i64 %x to i32
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  %by = icmp ne i32 %bypass, 0
  %seen = call i1 @watches_page(ptr %cpu, i32 %ea)
  %slow = or i1 %by, %seen
  %skip0 = or i1 %none, %slow
  %keeps = call i1 @keeps_line(i64 %x)
  %skip = select i1 %keeps, i1 %skip0, i1 true
  br i1 %skip, label %out, label %do
do:
{field("dtlb", "dtlb", "ptr")}
{field("dused", "dused", "ptr")}
{field("code", "code", "ptr")}
{field("dirty", "dirty", "ptr")}
  %eapage = and i32 %ea, -4096
  %a = lshr i32 %ea, 8
  %b = and i32 %a, {(DTLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %dtlb, i64 %c
  %rapage = and i32 %ra, -4096
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %rapage)
  %ez = zext i32 %eapage to i64
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
  %wbit = and i64 %x, {16 << 32}
  %may = icmp ne i64 %wbit, 0
  %beside = or i32 %eapage, {BESIDE}
  %writable = select i1 %nocode, i32 %eapage, i32 %beside
  %w1 = and i1 %isdirty, %ram
  %w = and i1 %w1, %may
  %tagw = select i1 %w, i32 %writable, i32 {NO_TAG}
  call void @use_line(ptr %dused, i64 %c)
  %n = lshr i64 %c, 4
  %flags = getelementptr i8, ptr %dtlb, i64 {DTLB_FLAGS}
  %fp = getelementptr i8, ptr %flags, i64 %n
  %wi = and i64 %x, {(WIMG_W | WIMG_I) << 32}
  %wi_set = icmp ne i64 %wi, 0
  %flag = zext i1 %wi_set to i8
  store i8 %flag, ptr %fp{TB_TLB}
  br i1 %w, label %note, label %put
note:
  call void @note_write_line(ptr %cpu, i64 %j, i64 %n)
  br label %put
put:
  store i32 %eapage, ptr %line{TB_TLB}
  %tp = getelementptr i8, ptr %line, i64 4
  store i32 %tagw, ptr %tp{TB_TLB}
  %ap = getelementptr i8, ptr %line, i64 8
  store ptr %addend, ptr %ap{TB_TLB}
  br label %out
out:
  ret void
}}
"""
