"""Going from entry to entry: exits, jumps by address, exact stepping, entry points.

See `handlers` for what `e` and `K` are.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu import mmu
from gossamer.engine.context import (
    CONTEXT,
    EFFECT_CODES,
    ENTRY_STRIDE,
    ITLB_ENTRIES,
    WITH_REGIONS,
)
from gossamer.engine.emit import CHAIN, TB_CPU, TB_ENTRY, TB_MEM, TB_TLB
from gossamer.engine.runtime_fields import field, store
from gossamer.isa.body import SRR1_ILLEGAL, Interrupt

_H: Final = "(ptr %cpu, ptr %e, i64 %K) nounwind"

EXITS: Final = f"""
define hidden {CHAIN} void @h_exit{_H} {{
  %nia = call i32 @cia_of(ptr %cpu, ptr %e)
{store("nia", "i32", "%nia")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
{store("left", "i64", "%left")}
  ret void
}}
define internal {CHAIN} void @h_exit_pc{_H} {{
{store("left", "i64", "%K")}
  ret void
}}
define internal {CHAIN} void @h_next{_H} {{
{field("exit_request", "stop", "i32")}
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %on, label %out, !prof !9
on:
  %h = load ptr, ptr %e{TB_ENTRY}
  musttail call {CHAIN} void %h(ptr %cpu, ptr %e, i64 %K)
  ret void
out:
  musttail call {CHAIN} void @h_exit(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal {CHAIN} void @h_sync{_H} {{
{field("exit_request", "stop", "i32")}
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %on, label %out, !prof !9
on:
  musttail call {CHAIN} void @h_jump(ptr %cpu, ptr %e, i64 %K)
  ret void
out:
  musttail call {CHAIN} void @h_exit_pc(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal {CHAIN} void @h_interrupt{_H} {{
  %srr0 = call i32 @cia_of(ptr %cpu, ptr %e)
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
  musttail call {CHAIN} void @h_sync(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal {CHAIN} void @h_illegal{_H} {{
{store("x_vector", "i32", str(int(Interrupt.PROGRAM)))}
{store("x_srr1", "i32", str(SRR1_ILLEGAL))}
  musttail call {CHAIN} void @h_interrupt(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal {CHAIN} void @h_interrupt_after{_H} {{
  %cia = call i32 @cia_of(ptr %cpu, ptr %e)
  %srr0 = add i32 %cia, 4
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
  musttail call {CHAIN} void @h_sync(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal {CHAIN} void @h_interrupt_at{_H} {{
{field("nia", "srr0", "i32")}
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
  musttail call {CHAIN} void @h_sync(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal void @take(ptr %cpu, i32 %srr0) nounwind {{
{field("x_vector", "vector", "i32")}
{field("x_srr1", "srr1", "i32")}
  call void @enter(ptr %cpu, i32 %vector, i32 %srr0, i32 %srr1)
  ret void
}}
"""

#: How faults of accesses become interrupts.
FAULTS: Final = f"""
define internal {CHAIN} void @h_data_fault{_H} {{
{field("x_fault", "fault", "i32")}
{field("x_dar", "dar", "i32")}
{store("dsisr", "i32", "%fault")}
{store("dar", "i32", "%dar")}
{store("x_srr1", "i32", "0")}
  musttail call {CHAIN} void @h_interrupt(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault) nounwind {{
  call void @enter(ptr %cpu, i32 {int(Interrupt.ISI)}, i32 %nia, i32 %fault)
  ret void
}}
"""

#: The same where a page that is not found is a miss for software to see to.
MISSES: Final = f"""
define internal {CHAIN} void @h_data_fault{_H} {{
{field("x_fault", "fault", "i32")}
{field("x_dar", "dar", "i32")}
  %m = and i32 %fault, {mmu.NOT_FOUND}
  %miss = icmp ne i32 %m, 0
  br i1 %miss, label %search, label %plain
plain:
{store("dsisr", "i32", "%fault")}
{store("dar", "i32", "%dar")}
{store("x_srr1", "i32", "0")}
  musttail call {CHAIN} void @h_interrupt(ptr %cpu, ptr %e, i64 %K)
  ret void
search:
  %s = and i32 %fault, {mmu.STORE}
  %is = icmp ne i32 %s, 0
  %vector = select i1 %is, i32 {int(Interrupt.STORE_MISS)}, i32 {int(Interrupt.LOAD_MISS)}
  %srr0 = call i32 @cia_of(ptr %cpu, ptr %e)
  call void @enter_miss(ptr %cpu, i32 %vector, i32 %srr0, i32 %dar)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
  musttail call {CHAIN} void @h_sync(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault) nounwind {{
  %m = and i32 %fault, {mmu.NOT_FOUND}
  %miss = icmp ne i32 %m, 0
  br i1 %miss, label %search, label %plain
plain:
  call void @enter(ptr %cpu, i32 {int(Interrupt.ISI)}, i32 %nia, i32 %fault)
  ret void
search:
  call void @enter_miss(ptr %cpu, i32 {int(Interrupt.FETCH_MISS)}, i32 %nia, i32 %nia)
  ret void
}}
"""

JUMP: Final = f"""
define internal {CHAIN} void @h_page_end{_H} {{
{field("fpage", "page", "i32")}
  %next = add i32 %page, 4096
{store("nia", "i32", "%next")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
  musttail call {CHAIN} void @h_jump(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define hidden {CHAIN} void @h_jump{_H} {{
  %enough = icmp sgt i64 %K, 0
  br i1 %enough, label %look, label %out, !prof !9
out:
  musttail call {CHAIN} void @h_exit_pc(ptr %cpu, ptr null, i64 %K)
  ret void
look:
{field("nia", "nia", "i32")}
{field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
  %tag = load i32, ptr %line{TB_TLB}
  %page = and i32 %nia, -4096
  %hit = icmp eq i32 %tag, %page
  br i1 %hit, label %go, label %miss, !prof !9
miss:
  %fault = call i32 @fill_fetch(ptr %cpu)
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %isi, label %again
again:
  musttail call {CHAIN} void @h_jump(ptr %cpu, ptr null, i64 %K)
  ret void
isi:
  call void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault)
  %rest = sub i64 %K, 16
  musttail call {CHAIN} void @h_sync(ptr %cpu, ptr null, i64 %rest)
  ret void
go:
  %w = getelementptr i8, ptr %line, i64 8
  %base = load ptr, ptr %w{TB_TLB}
{store("fpage", "i32", "%page")}
  %low = and i32 %nia, 4092
  %sh = shl i32 %low, 2
  %o = zext i32 %sh to i64
  %t = getelementptr i8, ptr %base, i64 %o
  %ti = ptrtoint ptr %t to i64
  %k = add i64 %K, %ti
  %h = load ptr, ptr %t{TB_ENTRY}
  musttail call {CHAIN} void %h(ptr %cpu, ptr %t, i64 %k)
  ret void
}}
define internal i32 @fill_fetch(ptr %cpu) nounwind noinline {{
  call void @resolve(ptr %cpu)
{field("nia", "nia", "i32")}
  %x = call i64 @xlate_fetch(ptr %cpu, i32 %nia)
  %hi = lshr i64 %x, 32
  %h = trunc i64 %hi to i32
  %fault = and i32 %h, -32
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %fail, label %ok
fail:
  ret i32 %fault
ok:
  %ra = trunc i64 %x to i32
  %pg = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %pg, -1
{field("entries", "entries", "ptr")}
{field("entries_end", "end", "ptr")}
{field("ready", "ready", "ptr")}
  %i = and i32 %pg, 2147483647
  %j = zext i32 %i to i64
  %o = mul i64 %j, {ENTRY_STRIDE}
  %mine = getelementptr i8, ptr %entries, i64 %o
  %base = select i1 %none, ptr %end, ptr %mine
  br i1 %none, label %put, label %check
check:
  %rp = getelementptr i8, ptr %ready, i64 %j
  %r = load i8, ptr %rp{TB_TLB}
  %fresh = icmp eq i8 %r, 0
  br i1 %fresh, label %init, label %put
init:
  store i8 1, ptr %rp{TB_TLB}
  call void @fill_page(ptr %base, ptr @h_decode)
  br label %put
put:
{field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
  %page = and i32 %nia, -4096
  store i32 %page, ptr %line{TB_TLB}
  %bp = getelementptr i8, ptr %line, i64 8
  store ptr %base, ptr %bp{TB_TLB}
  ret i32 0
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

DECODE: Final = f"""
define internal {CHAIN} void @h_decode{_H} {{
  call void @decode(ptr %cpu, ptr %e)
  %h = load ptr, ptr %e{TB_ENTRY}
  musttail call {CHAIN} void %h(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @decode(ptr %cpu, ptr %e) nounwind noinline {{
  call void @decode_into(ptr %cpu, ptr %e, ptr %e)
  ret void
}}
; Decode the word that entry %e stands for, into the entry %to.
define internal void @decode_into(ptr %cpu, ptr %e, ptr %to) nounwind noinline {{
entry:
{field("entries", "entries", "ptr")}
{field("arena", "arena", "ptr")}
{field("code", "code", "ptr")}
{field("decode_table", "table", "ptr")}
  %x = ptrtoint ptr %e to i64
  %y = ptrtoint ptr %entries to i64
  %off = sub i64 %x, %y
  %page = lshr i64 %off, 15
  %in = and i64 %off, {ENTRY_STRIDE - 1}
  %o = lshr i64 %in, 2
  %pb = shl i64 %page, 12
  %at = add i64 %pb, %o
  %wp = getelementptr i8, ptr %arena, i64 %at
  %raw = load i32, ptr %wp, align 4{TB_MEM}
  %word = call i32 @llvm.bswap.i32(i32 %raw)
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
  %cp = getelementptr i8, ptr %code, i64 %page
  %c = load i8, ptr %cp{TB_TLB}
  %new = icmp eq i8 %c, 0
  br i1 %new, label %first_code, label %out
first_code:
  store i8 1, ptr %cp{TB_TLB}
  call void @flush(ptr %cpu)
  br label %out
out:
  ret void
}}
; A decoded word of arena page %page changed: regions that contain words of it go first.
define internal void @code_gone(ptr %cpu, i64 %page) nounwind noinline {{
{field("ready", "flags", "ptr")}
  %fp = getelementptr i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp{TB_TLB}
  %regions = icmp eq i8 %f, {WITH_REGIONS}
  br i1 %regions, label %ask, label %out
ask:
  %arg = trunc i64 %page to i32
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["code"]}, i32 %arg)
  br label %out
out:
  ret void
}}
define void @code_written(ptr %cpu, i64 %off, i64 %len) nounwind {{
entry:
{field("entries", "entries", "ptr")}
{field("code", "code", "ptr")}
{field("code_writes", "writes", "ptr")}
  %page = lshr i64 %off, 12
  %wp = getelementptr i8, ptr %writes, i64 %page
  %w = load i8, ptr %wp{TB_TLB}
  %w1 = add i8 %w, 1
  store i8 %w1, ptr %wp{TB_TLB}
  %start = and i64 %off, -4
  %end = add i64 %off, %len
  %last = icmp eq i8 %w1, 64
  br i1 %last, label %drop, label %loop
drop:
  call void @code_gone(ptr %cpu, i64 %page)
  store i8 0, ptr %wp{TB_TLB}
  %cp = getelementptr i8, ptr %code, i64 %page
  store i8 0, ptr %cp{TB_TLB}
  %po = mul i64 %page, {ENTRY_STRIDE}
  %pp = getelementptr i8, ptr %entries, i64 %po
  call void @fill_page(ptr %pp, ptr @h_decode)
  br label %loop
loop:
  %at = phi i64 [ %start, %entry ], [ %start, %drop ], [ %next, %step ]
  %more = icmp ult i64 %at, %end
  br i1 %more, label %look, label %out
look:
  %p = lshr i64 %at, 12
  %cq = getelementptr i8, ptr %code, i64 %p
  %c = load i8, ptr %cq{TB_TLB}
  %has = icmp ne i8 %c, 0
  br i1 %has, label %reset, label %step
reset:
  %eo = mul i64 %p, {ENTRY_STRIDE}
  %in = and i64 %at, 4092
  %i4 = shl i64 %in, 2
  %eoff = add i64 %eo, %i4
  %e = getelementptr i8, ptr %entries, i64 %eoff
  %h = load ptr, ptr %e{TB_ENTRY}
  %undecoded = icmp eq ptr %h, @h_decode
  br i1 %undecoded, label %step, label %forget
forget:
  call void @code_gone(ptr %cpu, i64 %p)
  store ptr @h_decode, ptr %e{TB_ENTRY}
  br label %step
step:
  %next = add i64 %at, 4
  br label %loop
out:
  ret void
}}
"""

ENTRIES: Final = """
define void @prepare(ptr %cpu) nounwind {
  %p = getelementptr i8, ptr %cpu, i64 DECODE
  store ptr @decode_rows, ptr %p
  %q = getelementptr i8, ptr %cpu, i64 END
  %base = load ptr, ptr %q
  call void @fill_page(ptr %base, ptr @h_illegal)
  ret void
}
define void @interrupt(ptr %cpu, i32 %vector, i32 %srr0, i32 %srr1) nounwind {
  call void @enter(ptr %cpu, i32 %vector, i32 %srr0, i32 %srr1)
  ret void
}
""".replace("DECODE", str(CONTEXT["decode_table"])).replace("END", str(CONTEXT["entries_end"]))

RUN: Final = f"""
define void @run(ptr %cpu, i64 %left) nounwind {{
  call {CHAIN} void @h_jump(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define void @step(ptr %cpu, i64 %count) nounwind {{
entry:
{field("end_count", "end", "i64")}
{field("scratch", "scratch", "ptr")}
  %start = sub i64 %end, %count
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %next ]
{field("exit_request", "stop", "i32")}
  %s = icmp ne i32 %stop, 0
  %enough = icmp eq i64 %n, %count
  %leave = or i1 %s, %enough
  br i1 %leave, label %out, label %look
look:
  %n1 = add i64 %n, 1
  %here = add i64 %start, %n1
{store("end_count", "i64", "%here")}
{field("nia", "nia", "i32")}
{field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
  %tag = load i32, ptr %line{TB_TLB}
  %page = and i32 %nia, -4096
  %hit = icmp eq i32 %tag, %page
  br i1 %hit, label %go, label %miss
miss:
  %fault = call i32 @fill_fetch(ptr %cpu)
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %isi, label %go2
isi:
  call void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault)
  br label %next
go2:
  %itlbp2 = getelementptr i8, ptr %cpu, i64 {CONTEXT["itlb"]}
  %itlb2 = load ptr, ptr %itlbp2{TB_CPU}
  %line2 = getelementptr i8, ptr %itlb2, i64 %c
  br label %go
go:
  %ln = phi ptr [ %line, %look ], [ %line2, %go2 ]
  %w = getelementptr i8, ptr %ln, i64 8
  %base = load ptr, ptr %w{TB_TLB}
{store("fpage", "i32", "%page")}
  %low = and i32 %nia, 4092
  %sh = shl i32 %low, 2
  %o = zext i32 %sh to i64
  %t = getelementptr i8, ptr %base, i64 %o
  %h0 = load ptr, ptr %t{TB_ENTRY}
  %raw = icmp eq ptr %h0, @h_decode
  br i1 %raw, label %dec, label %copy
dec:
  call void @decode(ptr %cpu, ptr %t)
  br label %copy
copy:
  %hc = load ptr, ptr %t{TB_ENTRY}
  %tw = getelementptr i8, ptr %t, i64 8
  %word = load i64, ptr %tw{TB_ENTRY}
  %e = getelementptr i8, ptr %scratch, i64 %o
  store ptr %hc, ptr %e{TB_ENTRY}
  %ew = getelementptr i8, ptr %e, i64 8
  store i64 %word, ptr %ew{TB_ENTRY}
  ; In a page with regions the handler may be one: make the instruction's own from its word.
{field("entries_end", "last", "ptr")}
  %none = icmp eq ptr %base, %last
  br i1 %none, label %ready, label %mine
mine:
{field("entries", "entries", "ptr")}
{field("ready", "flags", "ptr")}
  %bi = ptrtoint ptr %base to i64
  %ei0 = ptrtoint ptr %entries to i64
  %off = sub i64 %bi, %ei0
  %pg = lshr i64 %off, 15
  %fp = getelementptr i8, ptr %flags, i64 %pg
  %f = load i8, ptr %fp{TB_TLB}
  %regions = icmp eq i8 %f, {WITH_REGIONS}
  br i1 %regions, label %own, label %ready
own:
  call void @decode_into(ptr %cpu, ptr %t, ptr %e)
  br label %ready
ready:
  %h = load ptr, ptr %e{TB_ENTRY}
  %en = getelementptr i8, ptr %e, i64 16
  store ptr @h_exit, ptr %en{TB_ENTRY}
  %ei = ptrtoint ptr %e to i64
  %k = add i64 %ei, 16
  call {CHAIN} void %h(ptr %cpu, ptr %e, i64 %k)
  br label %next
next:
  br label %loop
out:
{store("end_count", "i64", "%end")}
  %rest = sub i64 %count, %n
  %left = shl i64 %rest, 4
{store("left", "i64", "%left")}
  ret void
}}
"""

#: Functions that Python calls.
