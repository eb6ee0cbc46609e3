"""What follows when registers that translation depends on have changed, and calls out to Python."""

from __future__ import annotations

from gossamer.engine.context import BANKS, IRQ_EXIT, NO_BANK
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
        return f"""; The SLB may have changed: that is looked at where tables are needed.
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
            "forget_class",
            f", {ea} %ea",
            each_table(w, f"call void @clear_class(ptr %table, ptr %used, {ea} %ea)"),
        )
        + f"""
; A tlbie reaches every CPU.
define internal void @effect_tlbie(ptr %cpu, {ea} %ea) nounwind {{
  call void @forget_class(ptr %cpu, {ea} %ea)
  call void @note_all(ptr %cpu)
  ret void
}}
define internal void @effect_python(ptr %cpu, i32 %code, i32 %arg) nounwind {{
{field("effect_callback", "cb", "ptr")}
  call void %cb(i32 %code, i32 %arg)
  ret void
}}
"""
    )
