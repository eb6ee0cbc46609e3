"""What follows when registers that translation depends on have changed, and calls out to Python."""

from __future__ import annotations

from gossamer.cpu.table_calls import (
    GONE,
    H_BULK_REMOVE,
    H_ENTER,
    H_PROTECT,
    H_REMOVE,
    MOST,
    SUCCESS,
)
from gossamer.engine.context import BANKS, EFFECT_CODES, IRQ_EXIT, NO_BANK
from gossamer.engine.emit import TB_CPU
from gossamer.engine.runtime_fields import Text
from gossamer.engine.runtime_slb import CHANGED
from gossamer.engine.runtime_tables import each_table, for_banks


def _order(w: Text) -> str:
    return "  call void @look_at_order(ptr %cpu)\n" if w.addresses.orders else ""


def _users(w: Text) -> str:
    return w.store("high_in_user", "i32", "0") + "\n" if w.ea == "i64" else ""


def _segments(w: Text) -> str:
    field, store = w.field, w.store
    if w.ea == "i64":
        return f"""; The hypervisor is asked: answered here, or by Python, which may change all that
; the CPU has.
define internal void @effect_hypercall(ptr %cpu) nounwind {{
{field("call_memory", "memory", "i64")}
  %some = icmp ne i64 %memory, 0
  br i1 %some, label %own, label %ask
own:
  %done = call i1 @answer_call(ptr %cpu, i64 %memory)
  br i1 %done, label %out, label %ask
ask:
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["hypercall"]}, i32 0)
  br label %out
out:
  ret void
}}
; Answers the call that the registers hold; false: it is Python's.
define internal i1 @answer_call(ptr %cpu, i64 %memory) nounwind {{
entry:
{field("table_mask", "mask", "i64")}
  %half = lshr i64 %mask, 1
  %entries = add i64 %half, 1
  %at = getelementptr i8, ptr %cpu, i64 {w.offset_of("gpr") + 3 * 8}
  %number = load i64, ptr %at{TB_CPU}
  switch i64 %number, label %no [ i64 {H_ENTER}, label %enter
    i64 {H_REMOVE}, label %remove
    i64 {H_PROTECT}, label %protect
    i64 {H_BULK_REMOVE}, label %bulk ]
enter:
  %entered = call i64 @call_enter(ptr %cpu, i64 %memory, i64 %entries)
  br label %one
remove:
  %removed = call i64 @call_remove(ptr %cpu, i64 %entries)
  br label %one
protect:
  %protected = call i64 @call_protect(ptr %cpu, i64 %entries)
  br label %one
one:
  %outcome = phi i64 [ %entered, %enter ], [ %removed, %remove ], [ %protected, %protect ]
  call void @forget_gone(ptr %cpu, i64 %outcome)
  %answered = trunc i64 %outcome to i1
  ret i1 %answered
bulk:
  %usual = call i1 @call_bulk_is_usual(ptr %cpu, i64 %entries)
  br i1 %usual, label %each, label %no
each:
  %k = phi i32 [ 0, %bulk ], [ %k1, %next ]
  %each_one = call i64 @call_bulk_remove(ptr %cpu, i32 %k)
  call void @forget_gone(ptr %cpu, i64 %each_one)
  %asked = trunc i64 %each_one to i1
  br i1 %asked, label %next, label %all
next:
  %k1 = add i32 %k, 1
  %more = icmp ult i32 %k1, {MOST}
  br i1 %more, label %each, label %all
all:
  store i64 {SUCCESS}, ptr %at{TB_CPU}
  ret i1 true
no:
  ret i1 false
}}
; Forgets the page of an entry that went, as an outcome says (`cpu.table_calls`).
define internal void @forget_gone(ptr %cpu, i64 %outcome) nounwind {{
  %bit = and i64 %outcome, {GONE}
  %gone = icmp ne i64 %bit, 0
  br i1 %gone, label %forget, label %out
forget:
  %ea = trunc i64 %outcome to i32
  call void @forget_page(ptr %cpu, i32 %ea)
  br label %out
out:
  ret void
}}
; The SLB may have changed: that is looked at where tables are needed.
define internal void @effect_slb(ptr %cpu) nounwind {{
{field("segments_dirty", "dirty", "i32")}
  %new = or i32 %dirty, {CHANGED}
{store("segments_dirty", "i32", "%new")}
  call void @set_tables(ptr %cpu)
  ret void
}}"""
    return f"""; Segment register %n changed.
define internal void @effect_segment(ptr %cpu, i32 %n) nounwind {{
{field("segments_dirty", "dirty", "i32")}
  %bit = shl i32 1, %n
  %new = or i32 %dirty, %bit
{store("segments_dirty", "i32", "%new")}
  %first = icmp eq i32 %dirty, 0
  br i1 %first, label %set, label %out
set:
  call void @set_tables(ptr %cpu)
  br label %out
out:
  ret void
}}"""


def effects(w: Text) -> str:
    """What effects of instructions do, and `flush`."""
    field, store, ea = w.field, w.store, w.ea
    return (
        f"""
; MSR changed: other tables, and perhaps something for the run loop to do.
define void @effect_msr(ptr %cpu) nounwind {{
{_order(w)}  call void @set_tables(ptr %cpu)
{field("msr", "msr", ea)}
{field("irq", "irq", "i64")}
  %mask = call i64 @enabled_sources({ea} %msr)
  %pend = and i64 %irq, %mask
  %p = icmp ne i64 %pend, 0
  %special = call i32 @watched_msr({ea} %msr)
  %s = icmp ne i32 %special, 0
  %stop = or i1 %p, %s
  br i1 %stop, label %ask, label %out
ask:
{field("exit_request", "asked", "i32")}
  %why = select i1 %s, i32 1, i32 {IRQ_EXIT}
  %also = or i32 %asked, %why
{store("exit_request", "i32", "%also")}
  br label %out
out:
  ret void
}}

{_segments(w)}

; Every translation is forgotten.
define internal void @effect_tlb(ptr %cpu) nounwind {{
  %hashes = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_hash")}
  call void @llvm.memset.p0.i64(ptr %hashes, i8 0, i64 {4 * BANKS}, i1 false)
{store("segments_dirty", "i32", str(NO_BANK | 0xFFFF))}
{_users(w)}  call void @set_tables(ptr %cpu)
  ret void
}}

; A BAT, SDR1 or HID0 changed; MSR[POW] may take effect only now.
define internal void @effect_translation(ptr %cpu) nounwind {{
  call void @effect_tlb(ptr %cpu)
  call void @effect_msr(ptr %cpu)
  ret void
}}

; Everything that the engine knows of pages is forgotten, dirty bits among it.
define void @flush(ptr %cpu) nounwind {{
{field("d_real", "dreal", "ptr")}
{field("i_real", "ireal", "ptr")}
  %dused = getelementptr i8, ptr %cpu, i64 {w.offset_of("real_used")}
  %iused = getelementptr i8, ptr %cpu, i64 {w.offset_of("real_used") + 8}
  call void @clear_table(ptr %dreal, ptr %dused)
  call void @clear_table(ptr %ireal, ptr %iused)
  call void @effect_tlb(ptr %cpu)
  ret void
}}
"""
        + for_banks(
            w,
            "effect_tlbie",
            f", {ea} %ea",
            each_table(w, f"call void @clear_class(ptr %table, ptr %used, {ea} %ea)"),
        )
        + f"""
define internal void @effect_python(ptr %cpu, i32 %code, i32 %arg) nounwind {{
{field("effect_callback", "cb", "ptr")}
  call void %cb(i32 %code, i32 %arg)
  ret void
}}
"""
    )
