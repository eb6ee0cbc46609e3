"""Going from entry to entry: exits, jumps by address, exact stepping, entry points.

See `handlers` for what `e` and `K` are.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import FAULT_BITS, NOT_FOUND, STORE
from gossamer.engine.context import ENTRY_STRIDE, FILLED, ITLB_ENTRIES
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_fields import dispatch, field, handler, store, tail
from gossamer.isa.body import SRR1_ILLEGAL, Interrupt

EXITS: Final = f"""
{handler("h_exit", "hidden ")}
  %nia = call i32 @cia_of(ptr %cpu, ptr %e)
{store("nia", "i32", "%nia")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
{store("left", "i64", "%left")}
  ret void
}}
{handler("h_exit_pc")}
{store("left", "i64", "%K")}
  ret void
}}
{handler("h_next")}
{field("exit_request", "stop", "i32")}
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %on, label %out, !prof !9
on:
{dispatch("%e")}
out:
{tail("h_asked_at")}
}}
{handler("h_sync")}
{field("exit_request", "stop", "i32")}
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %on, label %out, !prof !9
on:
{tail("h_jump")}
out:
{tail("h_asked")}
}}
{handler("h_interrupt")}
  %srr0 = call i32 @cia_of(ptr %cpu, ptr %e)
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
{handler("h_illegal")}
{store("x_vector", "i32", str(int(Interrupt.PROGRAM)))}
{store("x_srr1", "i32", str(SRR1_ILLEGAL))}
{tail("h_interrupt")}
}}
{handler("h_interrupt_after")}
  %cia = call i32 @cia_of(ptr %cpu, ptr %e)
  %srr0 = add i32 %cia, 4
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
{handler("h_interrupt_at")}
{field("nia", "srr0", "i32")}
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
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
{handler("h_data_fault")}
{field("x_fault", "fault", "i32")}
{field("x_dar", "dar", "i32")}
{store("dsisr", "i32", "%fault")}
{store("dar", "i32", "%dar")}
{store("x_srr1", "i32", "0")}
{tail("h_interrupt")}
}}
define internal void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault) nounwind {{
  call void @enter(ptr %cpu, i32 {int(Interrupt.ISI)}, i32 %nia, i32 %fault)
  ret void
}}
"""

#: The same where a page that is not found is a miss for software to see to.
MISSES: Final = f"""
{handler("h_data_fault")}
{field("x_fault", "fault", "i32")}
{field("x_dar", "dar", "i32")}
  %m = and i32 %fault, {NOT_FOUND}
  %miss = icmp ne i32 %m, 0
  br i1 %miss, label %search, label %plain
plain:
{store("dsisr", "i32", "%fault")}
{store("dar", "i32", "%dar")}
{store("x_srr1", "i32", "0")}
{tail("h_interrupt")}
search:
  %s = and i32 %fault, {STORE}
  %is = icmp ne i32 %s, 0
  %vector = select i1 %is, i32 {int(Interrupt.STORE_MISS)}, i32 {int(Interrupt.LOAD_MISS)}
  %srr0 = call i32 @cia_of(ptr %cpu, ptr %e)
  call void @enter_miss(ptr %cpu, i32 %vector, i32 %srr0, i32 %dar)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
define internal void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault) nounwind {{
  %m = and i32 %fault, {NOT_FOUND}
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
{handler("h_page_end")}
{field("fpage", "page", "i32")}
  %next = add i32 %page, 4096
{store("nia", "i32", "%next")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
{tail("h_jump", "null", "%left")}
}}
{handler("h_jump", "hidden ")}
  %enough = icmp sgt i64 %K, 0
  br i1 %enough, label %look, label %out, !prof !9
out:
{tail("h_spent_pc")}
look:
{field("nia", "nia", "i32")}
{field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %known = getelementptr i8, ptr %itlb, i64 %c
  %tag = load i32, ptr %known{TB_TLB}
  %page = and i32 %nia, -4096
  %hit = icmp eq i32 %tag, %page
  br i1 %hit, label %go, label %miss, !prof !9
miss:
  %filled = call ptr @fetch_miss(ptr %cpu)
  %bad = icmp eq ptr %filled, null
  br i1 %bad, label %isi, label %go, !prof !8
isi:
  %rest = sub i64 %K, 16
{tail("h_sync", "null", "%rest")}
go:
  %line = phi ptr [ %known, %look ], [ %filled, %miss ]
  %w = getelementptr i8, ptr %line, i64 8
  %base = load ptr, ptr %w{TB_TLB}
{store("fpage", "i32", "%page")}
  %low = and i32 %nia, 4092
  %sh = shl i32 %low, 2
  %o = zext i32 %sh to i64
  %t = getelementptr i8, ptr %base, i64 %o
  %ti = ptrtoint ptr %t to i64
  %k = add i64 %K, %ti
{dispatch("%t", "%k")}
}}

; The fetch TLB's line of the page at NIA, which was not found at first: made, or found after all.
; Null when the fetch faults; the interrupt has been taken then.
define internal ptr @fetch_miss(ptr %cpu) nounwind noinline {{
entry:
{field("nia", "nia", "i32")}
  %beside = call ptr @fetch_beside(ptr %cpu, i32 %nia)
  %valid = icmp ne ptr %beside, null
  br i1 %valid, label %go_on, label %changed
go_on:
  ret ptr %beside
changed:
  %again = call i1 @resolve(ptr %cpu)
  br i1 %again, label %look, label %walk
look:
  %found = call ptr @fetch_known(ptr %cpu, i32 %nia)
  %have = icmp ne ptr %found, null
  br i1 %have, label %give, label %walk
give:
  ret ptr %found
walk:
  %x = call i64 @xlate_fetch(ptr %cpu, i32 %nia)
  %hi = lshr i64 %x, 32
  %h = trunc i64 %hi to i32
  %fault = and i32 %h, {FAULT_BITS}
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %fail, label %ok
fail:
  call void @fetch_fault(ptr %cpu, i32 %nia, i32 %fault)
  ret ptr null
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
  %base0 = select i1 %none, ptr %end, ptr %mine
  %base = call ptr @fetch_entries(ptr %cpu, i64 %x, ptr %base0)
  br i1 %none, label %put, label %check
check:
  %rp = getelementptr i8, ptr %ready, i64 %j
  %r = load i8, ptr %rp{TB_TLB}
  %fresh = icmp eq i8 %r, 0
  br i1 %fresh, label %init, label %put
init:
  store i8 {FILLED}, ptr %rp{TB_TLB}
  call void @fill_page(ptr %mine, ptr @h_decode)
  br label %put
put:
{field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
{field("iused", "iused", "ptr")}
  call void @use_line(ptr %iused, i64 %c)
  %page = and i32 %nia, -4096
  store i32 %page, ptr %line{TB_TLB}
  %bp = getelementptr i8, ptr %line, i64 8
  store ptr %base, ptr %bp{TB_TLB}
  ret ptr %line
}}

; The fetch TLB's line of the page of %nia; null when it is not there.
define internal ptr @fetch_known(ptr %cpu, i32 %nia) nounwind alwaysinline {{
{field("itlb", "itlb", "ptr")}
  %line = call ptr @line_of(ptr %itlb, i32 %nia)
  ret ptr %line
}}
"""
