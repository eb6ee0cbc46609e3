"""What happens at the end of a slice of the budget: count where the guest is, and go on.

Instructions are cut into slices (`context`: `more`, `slice`, `next_look`); one that a run ends in
goes on in the next, so that code is found, too, that chips interrupt all the time.  At a slice's
end, which is always the target of a taken branch, the entry gone to is counted in a table of
`SAMPLES` slots, and, for a branch through the fetch TLB, the pair of it and the entry it came from
too.  A slot whose count reaches a power of two (2, 4, 8 ...) is put on the list of hot slots and
ends the run, so that Python looks at it: there, before MSR or a table can change, so that the
code's pages are found.  All that depends on instruction counts only, and changes nothing that a
guest sees.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.context import HOT_SLOTS, SAMPLE_SLOT, SAMPLER_EXIT, SAMPLES
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_fields import Text, dispatch, handler, tail

#: Odd 64-bit multipliers that spread entry addresses over the table.
_SPREAD_ENTRY: Final = 0x9E37_79B9_7F4A_7C15 - (1 << 64)
_SPREAD_SOURCE: Final = 0x2545_F491_4F6C_DD1D
_INDEX_SHIFT: Final = 64 - (SAMPLES.bit_length() - 1)
#: Where a slot has the effective page.
_PAGE: Final = {"i32": 20, "i64": 24}


def _next_count(w: Text, leaving: str, place: str) -> str:
    """Lines that make %k of %K and the next slice, up to where nothing asks for an exit."""
    return f"""  %k = add i64 %K, %next
{w.field("exit_request", "asked", "i32")}
  %quiet = icmp eq i32 %asked, 0
  br i1 %quiet, label %fresh, label %hot
hot:
{tail(leaving, place, "%k")}
fresh:"""


def sampler(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
; The budget has ended at entry %e (K <= e): the next slice, or the end of the run.
{handler("h_spent", "hidden ")}
  %next = call i64 @next_slice(ptr %cpu)
  %none = icmp eq i64 %next, 0
  br i1 %none, label %out, label %on
out:
{tail("h_exit")}
on:
{field("fpage", "page", ea)}
  call void @sample(ptr %cpu, ptr %e, ptr null, {ea} %page)
{_next_count(w, "h_exit", "%e")}
  %here = ptrtoint ptr %e to i64
  %enough = icmp sgt i64 %k, %here
  br i1 %enough, label %go, label %again
go:
{dispatch("%e", "%k")}
again:
{tail("h_spent", "%e", "%k")}
}}

; A region was left for entry %e (%K > e), and what is left of the slice is less than its longest
; way: the place is counted, as one that is come to from there, and the next slice begins.
{handler("h_seam", "hidden ")}
  %next = call i64 @next_slice(ptr %cpu)
  %none = icmp eq i64 %next, 0
  br i1 %none, label %go, label %on
on:
{field("fpage", "page", ea)}
  call void @sample(ptr %cpu, ptr %e, ptr %e, {ea} %page)
  br label %go
go:
{_next_count(w, "h_exit", "%e")}
{dispatch("%e", "%k")}
}}

; The same at the address NIA, which the instruction of entry %e (null: none) has branched to.
{handler("h_spent_pc")}
  %next = call i64 @next_slice(ptr %cpu)
  %none = icmp eq i64 %next, 0
  br i1 %none, label %out, label %on
out:
{tail("h_exit_pc", "null")}
on:
  call void @sample_pc(ptr %cpu, ptr %e)
{_next_count(w, "h_exit_pc", "null")}
{tail("h_jump", "null", "%k")}
}}

; Takes the next slice from the budget: 16 x its instructions; 0 when nothing is left of the budget
; or an exit was asked for.  Lengths vary from half to one and a half, so as not to beat with loops.
define hidden i64 @next_slice(ptr %cpu) nounwind noinline {{
{field("more", "more", "i64")}
{field("exit_request", "stop", "i32")}
  %some = icmp sgt i64 %more, 0
  %on = icmp eq i32 %stop, 0
  %both = and i1 %some, %on
  br i1 %both, label %take, label %none
none:
  ret i64 0
take:
{field("slice", "slice", "i64")}
{field("slice_seed", "seed", "i64")}
  %s1 = mul i64 %seed, 6364136223846793005
  %s2 = add i64 %s1, 1442695040888963407
{store("slice_seed", "i64", "%s2")}
  %random = lshr i64 %s2, 33
  %mask = sub i64 %slice, 1
  %part = and i64 %random, %mask
  %half = lshr i64 %slice, 1
  %length = add i64 %half, %part
  %whole = and i64 %length, -16
  %next = call i64 @llvm.umin.i64(i64 %whole, i64 %more)
  %rest = sub i64 %more, %next
{store("more", "i64", "%rest")}
{field("end_count", "end", "i64")}
  %count = lshr i64 %next, 4
  %then = add i64 %end, %count
{store("end_count", "i64", "%then")}
  %all = lshr i64 %whole, 4
  %look = add i64 %end, %all
{store("next_look", "i64", "%look")}
  ret i64 %next
}}

; Counts entry %e of effective page %page, and the way to it from entry %source (null: not known).
define internal void @sample(ptr %cpu, ptr %e, ptr %source, {ea} %page) nounwind {{
{field("samples", "samples", "ptr")}
  %off = icmp eq ptr %samples, null
  br i1 %off, label %out, label %on
on:
  call void @sample_slot(ptr %cpu, ptr %e, ptr null, {ea} %page)
  %unknown = icmp eq ptr %source, null
  br i1 %unknown, label %out, label %pair
pair:
  call void @sample_slot(ptr %cpu, ptr %e, ptr %source, {ea} %page)
  br label %out
out:
  ret void
}}

; Counts the entry that NIA stands for, where the fetch TLB knows it.
define internal void @sample_pc(ptr %cpu, ptr %source) nounwind noinline {{
{field("nia", "nia", ea)}
  %page = and {ea} %nia, -4096
  %line = call ptr @fetch_known(ptr %cpu, {ea} %nia)
  %hit = icmp ne ptr %line, null
  br i1 %hit, label %known, label %out
known:
  %w = getelementptr i8, ptr %line, i64 {w.addend}
  %base = load ptr, ptr %w{TB_TLB}
  %low = and {ea} %nia, 4092
  %sh = shl {ea} %low, 2
{w.wide("o", "sh")}
  %e = getelementptr i8, ptr %base, i64 %o
  call void @sample(ptr %cpu, ptr %e, ptr %source, {ea} %page)
  br label %out
out:
  ret void
}}

; One more for (entry, source) in its slot.  Another pair that is there loses one instead, and gives
; way when it has none left.
define internal void @sample_slot(ptr %cpu, ptr %e, ptr %source, {ea} %page) nounwind noinline {{
{field("samples", "samples", "ptr")}
  %ei = ptrtoint ptr %e to i64
  %si = ptrtoint ptr %source to i64
  %h1 = mul i64 %ei, {_SPREAD_ENTRY}
  %h2 = mul i64 %si, {_SPREAD_SOURCE}
  %h3 = xor i64 %h1, %h2
  %n = lshr i64 %h3, {_INDEX_SHIFT}
  %at = mul i64 %n, {SAMPLE_SLOT}
  %slot = getelementptr i8, ptr %samples, i64 %at
  %slot_source = getelementptr i8, ptr %slot, i64 8
  %slot_count = getelementptr i8, ptr %slot, i64 16
  %slot_page = getelementptr i8, ptr %slot, i64 {_PAGE[ea]}
  %e0 = load i64, ptr %slot{TB_TLB}
  %s0 = load i64, ptr %slot_source{TB_TLB}
  %count = load i32, ptr %slot_count{TB_TLB}
  %same_e = icmp eq i64 %e0, %ei
  %same_s = icmp eq i64 %s0, %si
  %same = and i1 %same_e, %same_s
  br i1 %same, label %mine, label %other
other:
  %taken = icmp ne i32 %count, 0
  br i1 %taken, label %age, label %replace
age:
  %less = sub i32 %count, 1
  store i32 %less, ptr %slot_count{TB_TLB}
  ret void
replace:
  store i64 %ei, ptr %slot{TB_TLB}
  store i64 %si, ptr %slot_source{TB_TLB}
  store i32 1, ptr %slot_count{TB_TLB}
  store {ea} %page, ptr %slot_page{TB_TLB}
  ret void
mine:
  %one_more = add i32 %count, 1
  store i32 %one_more, ptr %slot_count{TB_TLB}
  store {ea} %page, ptr %slot_page{TB_TLB}
  %clear = and i32 %one_more, %count
  %power = icmp eq i32 %clear, 0
  br i1 %power, label %hot, label %out
hot:
{field("hot_count", "listed", "i32")}
  %room = icmp ult i32 %listed, {HOT_SLOTS}
  br i1 %room, label %put, label %ask
put:
  %hw = zext i32 %listed to i64
{field("hot", "list", "ptr")}
  %place = getelementptr i32, ptr %list, i64 %hw
  %n32 = trunc i64 %n to i32
  store i32 %n32, ptr %place{TB_TLB}
  %longer = add i32 %listed, 1
{store("hot_count", "i32", "%longer")}
  br label %ask
ask:
{field("exit_request", "asked", "i32")}
  %also = or i32 %asked, {SAMPLER_EXIT}
{store("exit_request", "i32", "%also")}
  br label %out
out:
  ret void
}}
"""
