"""Going from entry to entry: exits, jumps by address, exact stepping, entry points.

See `handlers` for what `e` and `K` are.
"""

from __future__ import annotations

from gossamer.cpu.translation import FAULT_BITS, STORE
from gossamer.engine.context import ENTRY_STRIDE, FILLED, ITLB_ENTRIES
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_fields import Text, dispatch, handler, tail
from gossamer.engine.runtime_slb import note_side
from gossamer.isa.interrupts import SRR1_ILLEGAL, Interrupt


def exits(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
{handler("h_exit", "hidden ")}
  %nia = call {ea} @cia_of(ptr %cpu, ptr %e)
{store("nia", ea, "%nia")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
{store("left", "i64", "%left")}
  ret void
}}
{handler("h_exit_pc")}
{store("left", "i64", "%K")}
  ret void
}}
{handler("h_next", "hidden ")}
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
{handler("h_interrupt", "hidden ")}
  %srr0 = call {ea} @cia_of(ptr %cpu, ptr %e)
  call void @take(ptr %cpu, {ea} %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
{handler("h_illegal")}
{store("x_vector", "i32", str(int(Interrupt.PROGRAM)))}
{store("x_srr1", ea, str(SRR1_ILLEGAL))}
{tail("h_interrupt")}
}}
{handler("h_interrupt_after")}
  %cia = call {ea} @cia_of(ptr %cpu, ptr %e)
  %srr0 = add {ea} %cia, 4
  call void @take(ptr %cpu, {ea} %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
{handler("h_interrupt_at")}
{field("nia", "srr0", ea)}
  call void @take(ptr %cpu, {ea} %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
define internal void @take(ptr %cpu, {ea} %srr0) nounwind {{
{field("x_vector", "vector", ea)}
{field("x_srr1", "srr1", ea)}
  call void @enter(ptr %cpu, {ea} %vector, {ea} %srr0, {ea} %srr1)
  ret void
}}
"""


#: How faults of accesses become interrupts.
def faults(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
{handler("h_data_fault", "hidden ")}
{field("x_fault", "fault", "i32")}
{field("x_dar", "dar", ea)}
{store("dsisr", "i32", "%fault")}
{store("dar", ea, "%dar")}
{store("x_srr1", ea, "0")}
{tail("h_interrupt")}
}}
define internal void @fetch_fault(ptr %cpu, {ea} %nia, i32 %fault) nounwind {{
{w.grow("fault")}
  call void @enter(ptr %cpu, {ea} {int(Interrupt.ISI)}, {ea} %nia, {ea} {w.as_("fault")})
  ret void
}}
"""


#: The same where faults with the bit `miss` enter in a way of their own.
def misses(w: Text, miss: int, vectors: tuple[Interrupt, ...]) -> str:
    field, store, ea = w.field, w.store, w.ea
    fetching, loading, storing = (int(v) for v in vectors)
    return f"""
{handler("h_data_fault", "hidden ")}
{field("x_fault", "fault", "i32")}
{field("x_dar", "dar", ea)}
  %m = and i32 %fault, {miss}
  %miss = icmp ne i32 %m, 0
  br i1 %miss, label %search, label %plain
plain:
{store("dsisr", "i32", "%fault")}
{store("dar", ea, "%dar")}
{store("x_srr1", ea, "0")}
{tail("h_interrupt")}
search:
  %s = and i32 %fault, {STORE}
  %is = icmp ne i32 %s, 0
  %vector = select i1 %is, {ea} {storing}, {ea} {loading}
  %srr0 = call {ea} @cia_of(ptr %cpu, ptr %e)
  call void @enter_miss(ptr %cpu, {ea} %vector, {ea} %srr0, {ea} %dar)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
}}
define internal void @fetch_fault(ptr %cpu, {ea} %nia, i32 %fault) nounwind {{
  %m = and i32 %fault, {miss}
  %miss = icmp ne i32 %m, 0
  br i1 %miss, label %search, label %plain
plain:
{w.grow("fault")}
  call void @enter(ptr %cpu, {ea} {int(Interrupt.ISI)}, {ea} %nia, {ea} {w.as_("fault")})
  ret void
search:
  call void @enter_miss(ptr %cpu, {ea} {fetching}, {ea} %nia, {ea} %nia)
  ret void
}}
"""


def jump(w: Text) -> str:
    field, store, ea, ra, x = w.field, w.store, w.ea, w.ra, w.x
    ready, turn = "put", ""
    if w.addresses.orders:
        ready, turn = "order", "order:\n  call void @in_turn(ptr %cpu, i64 %j)\n  br label %put\n"
    place = w.line_offset("c", "nia", ITLB_ENTRIES)
    return f"""
{handler("h_page_end")}
{field("fpage", "page", ea)}
{w.next_page("next", "page")}
{store("nia", ea, "%next")}
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
{field("nia", "nia", ea)}
{field("itlb", "itlb", "ptr")}
{place}
  %known = getelementptr i8, ptr %itlb, i64 %c
  %tag = load {ea}, ptr %known{TB_TLB}
  %page = and {ea} %nia, -4096
  %hit = icmp eq {ea} %tag, %page
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
  %w = getelementptr i8, ptr %line, i64 {w.addend}
  %base = load ptr, ptr %w{TB_TLB}
{store("fpage", ea, "%page")}
  %low = and {ea} %nia, 4092
  %sh = shl {ea} %low, 2
{w.wide("o", "sh")}
  %t = getelementptr i8, ptr %base, i64 %o
  %ti = ptrtoint ptr %t to i64
  %k = add i64 %K, %ti
{dispatch("%t", "%k")}
}}

; The fetch TLB's line of the page at NIA, which was not found at first: made, or found after all.
; Null when the fetch faults; the interrupt has been taken then.
define internal ptr @fetch_miss(ptr %cpu) nounwind noinline {{
entry:
{field("nia", "nia", ea)}
  %beside = call ptr @fetch_beside(ptr %cpu, {ea} %nia)
  %valid = icmp ne ptr %beside, null
  br i1 %valid, label %go_on, label %changed
go_on:
  ret ptr %beside
changed:
  %again = call i1 @resolve(ptr %cpu)
  br i1 %again, label %look, label %walk
look:
  %found = call ptr @fetch_known(ptr %cpu, {ea} %nia)
  %have = icmp ne ptr %found, null
  br i1 %have, label %give, label %walk
give:
  ret ptr %found
walk:
  %x = call {x} @xlate_fetch(ptr %cpu, {ea} %nia)
  %hi = lshr {x} %x, {w.up}
  %h = trunc {x} %hi to i32
  %fault = and i32 %h, {FAULT_BITS}
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %fail, label %ok
fail:
  call void @fetch_fault(ptr %cpu, {ea} %nia, i32 %fault)
  ret ptr null
ok:
  %ra = trunc {x} %x to {ra}
  %pg = call i32 @page_of(ptr %cpu, {ra} %ra)
  %none = icmp eq i32 %pg, -1
{field("entries", "entries", "ptr")}
{field("entries_end", "end", "ptr")}
{field("ready", "ready", "ptr")}
  %i = and i32 %pg, 2147483647
  %j = zext i32 %i to i64
  %o = mul i64 %j, {ENTRY_STRIDE}
  %mine = getelementptr i8, ptr %entries, i64 %o
  %base0 = select i1 %none, ptr %end, ptr %mine
  %base = call ptr @fetch_entries(ptr %cpu, {x} %x, ptr %base0)
  br i1 %none, label %put, label %check
check:
  %rp = getelementptr i8, ptr %ready, i64 %j
  %r = load i8, ptr %rp{TB_TLB}
  %fresh = icmp eq i8 %r, 0
  br i1 %fresh, label %init, label %{ready}
init:
  store i8 {FILLED}, ptr %rp{TB_TLB}
  call void @fill_page(ptr %mine, ptr @h_decode)
  br label %{ready}
{turn}put:
{field("itlb", "itlb", "ptr")}
{place}
  %line = getelementptr i8, ptr %itlb, i64 %c
{field("iused", "iused", "ptr")}
  call void @use_line(ptr %iused, i64 %c)
{note_side(w, "nia", 8)}  %page = and {ea} %nia, -4096
  store {ea} %page, ptr %line{TB_TLB}
  %bp = getelementptr i8, ptr %line, i64 {w.addend}
  store ptr %base, ptr %bp{TB_TLB}
  ret ptr %line
}}

; The fetch TLB's line of the page of %nia; null when it is not there.
define internal ptr @fetch_known(ptr %cpu, {ea} %nia) nounwind alwaysinline {{
{field("itlb", "itlb", "ptr")}
  %line = call ptr @line_of(ptr %itlb, {ea} %nia)
  ret ptr %line
}}
"""
