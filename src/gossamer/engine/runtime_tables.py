"""Translation caches: which table is in force, banks by segment registers, flushing."""

from __future__ import annotations

from typing import Final

from gossamer.cpu import exceptions, mmu
from gossamer.cpu.block import OFFSET
from gossamer.engine.context import (
    BANK_SIZE,
    BANKS,
    CONTEXT,
    DTLB_ENTRIES,
    DTLB_SIZE,
    ITLB_ENTRIES,
    ITLB_SIZE,
)
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import field, store

TABLES: Final = f"""
define internal void @clear_tags(ptr %table, i64 %count) nounwind {{
entry:
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %m, %loop ]
  %o = shl i64 %n, 4
  %p = getelementptr i8, ptr %table, i64 %o
  store i64 4294967297, ptr %p{TB_TLB}
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, %count
  br i1 %more, label %loop, label %out
out:
  ret void
}}
define internal void @set_tables(ptr %cpu) nounwind {{
{field("msr", "msr", "i32")}
{field("segments_dirty", "dirty", "i32")}
{field("bypass", "bypass", "i32")}
{field("bank", "bank", "i32")}
{field("banks", "banks", "ptr")}
{field("d_real", "dreal", "ptr")}
{field("i_real", "ireal", "ptr")}
{field("d_null", "dnull", "ptr")}
{field("i_null", "inull", "ptr")}
  %b = zext i32 %bank to i64
  %bo = mul i64 %b, {BANK_SIZE}
  %mine = getelementptr i8, ptr %banks, i64 %bo
  %pr = and i32 %msr, {mmu.MSR_PR}
  %user = icmp ne i32 %pr, 0
  %do = select i1 %user, i64 {DTLB_SIZE}, i64 0
  %io = select i1 %user, i64 {2 * DTLB_SIZE + ITLB_SIZE}, i64 {2 * DTLB_SIZE}
  %dbank = getelementptr i8, ptr %mine, i64 %do
  %ibank = getelementptr i8, ptr %mine, i64 %io
  %unknown = icmp ne i32 %dirty, 0
  %by = icmp ne i32 %bypass, 0
  %dx = select i1 %unknown, ptr %dnull, ptr %dbank
  %ix = select i1 %unknown, ptr %inull, ptr %ibank
  %drb = and i32 %msr, {mmu.MSR_DR}
  %irb = and i32 %msr, {mmu.MSR_IR}
  %dr = icmp ne i32 %drb, 0
  %ir = icmp ne i32 %irb, 0
  %d0 = select i1 %dr, ptr %dx, ptr %dreal
  %d = select i1 %by, ptr %dnull, ptr %d0
  %i = select i1 %ir, ptr %ix, ptr %ireal
{store("dtlb", "ptr", "%d")}
{store("itlb", "ptr", "%i")}
  ret void
}}
; Chooses the bank of the present segment registers, if that is not done yet; whether it was not:
; the tables have changed then, and what was not found may be there.
define internal i1 @resolve(ptr %cpu) nounwind alwaysinline {{
{field("segments_dirty", "dirty", "i32")}
  %clean = icmp eq i32 %dirty, 0
  br i1 %clean, label %out, label %search
search:
  call void @choose_bank(ptr %cpu)
  ret i1 true
out:
  ret i1 false
}}
define internal void @choose_bank(ptr %cpu) nounwind noinline {{
search:
  %srp = getelementptr i8, ptr %cpu, i64 {OFFSET["sr"]}
  %sr = load <16 x i32>, ptr %srp, align 4{TB_CPU}
  br label %loop
loop:
  %n = phi i64 [ 0, %search ], [ %m, %next ]
  %vo = add i64 %n, {CONTEXT["bank_valid"]}
  %vp = getelementptr i8, ptr %cpu, i64 %vo
  %v = load i8, ptr %vp{TB_CPU}
  %valid = icmp ne i8 %v, 0
  br i1 %valid, label %compare, label %next
compare:
  %ko = shl i64 %n, 6
  %kp0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_segments"]}
  %kp = getelementptr i8, ptr %kp0, i64 %ko
  %k = load <16 x i32>, ptr %kp, align 4{TB_CPU}
  %x = xor <16 x i32> %k, %sr
  %o = call i32 @llvm.vector.reduce.or.v16i32(<16 x i32> %x)
  %same = icmp eq i32 %o, 0
  br i1 %same, label %found, label %next
next:
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, {BANKS}
  br i1 %more, label %loop, label %evict
evict:
{field("next_bank", "victim", "i32")}
  %v1 = add i32 %victim, 1
  %v2 = and i32 %v1, {BANKS - 1}
{store("next_bank", "i32", "%v2")}
  %vw = zext i32 %victim to i64
  %ep0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_valid"]}
  %ep = getelementptr i8, ptr %ep0, i64 %vw
  store i8 1, ptr %ep{TB_CPU}
  %so = shl i64 %vw, 6
  %sp0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_segments"]}
  %sp = getelementptr i8, ptr %sp0, i64 %so
  store <16 x i32> %sr, ptr %sp, align 4{TB_CPU}
{field("banks", "banks", "ptr")}
  %bo = mul i64 %vw, {BANK_SIZE}
  %bp = getelementptr i8, ptr %banks, i64 %bo
  call void @clear_tags(ptr %bp, i64 {BANK_SIZE // 16})
  br label %found
found:
  %which = phi i64 [ %n, %compare ], [ %vw, %evict ]
  %w32 = trunc i64 %which to i32
{store("bank", "i32", "%w32")}
{store("segments_dirty", "i32", "0")}
  call void @set_tables(ptr %cpu)
  ret void
}}
define void @effect_msr(ptr %cpu) nounwind {{
  call void @set_tables(ptr %cpu)
{field("msr", "msr", "i32")}
{field("irq", "irq", "i64")}
  %eeb = and i32 %msr, {exceptions.MSR_EE}
  %ee = icmp ne i32 %eeb, 0
  %mask = select i1 %ee, i64 -1, i64 65535
  %pend = and i64 %irq, %mask
  %p = icmp ne i64 %pend, 0
  %special = and i32 %msr, {exceptions.MSR_POW | exceptions.MSR_SE | exceptions.MSR_BE}
  %s = icmp ne i32 %special, 0
  %stop = or i1 %p, %s
  br i1 %stop, label %ask, label %out
ask:
{store("exit_request", "i32", "1")}
  br label %out
out:
  ret void
}}
define internal void @effect_segment(ptr %cpu) nounwind {{
{store("segments_dirty", "i32", "1")}
  call void @set_tables(ptr %cpu)
  ret void
}}
define internal void @effect_tlb(ptr %cpu) nounwind {{
{store("bank_valid", "i64", "0")}
  call void @effect_segment(ptr %cpu)
  ret void
}}
define internal void @effect_translation(ptr %cpu) nounwind {{
  call void @effect_tlb(ptr %cpu)
  ; HID0 is written here too: MSR[POW] may take effect only now.
  call void @effect_msr(ptr %cpu)
  ret void
}}
define void @flush(ptr %cpu) nounwind {{
{field("d_real", "dreal", "ptr")}
{field("i_real", "ireal", "ptr")}
  call void @clear_tags(ptr %dreal, i64 {DTLB_ENTRIES})
  call void @clear_tags(ptr %ireal, i64 {ITLB_ENTRIES})
  call void @effect_tlb(ptr %cpu)
  ret void
}}
define internal void @clear_set(ptr %table, i32 %ea, i64 %count) nounwind {{
entry:
  %page = lshr i32 %ea, 12
  %set = and i32 %page, 63
  %w = zext i32 %set to i64
  br label %loop
loop:
  %n = phi i64 [ %w, %entry ], [ %m, %loop ]
  %o = shl i64 %n, 4
  %p = getelementptr i8, ptr %table, i64 %o
  store i64 4294967297, ptr %p{TB_TLB}
  %m = add i64 %n, 64
  %more = icmp ult i64 %m, %count
  br i1 %more, label %loop, label %out
out:
  ret void
}}
define internal void @effect_tlbie(ptr %cpu, i32 %ea) nounwind {{
entry:
{field("banks", "banks", "ptr")}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %m, %loop ]
  %bo = mul i64 %n, {BANK_SIZE}
  %d0 = getelementptr i8, ptr %banks, i64 %bo
  %d1 = getelementptr i8, ptr %d0, i64 {DTLB_SIZE}
  %i0 = getelementptr i8, ptr %d0, i64 {2 * DTLB_SIZE}
  %i1 = getelementptr i8, ptr %i0, i64 {ITLB_SIZE}
  call void @clear_set(ptr %d0, i32 %ea, i64 {DTLB_ENTRIES})
  call void @clear_set(ptr %d1, i32 %ea, i64 {DTLB_ENTRIES})
  call void @clear_set(ptr %i0, i32 %ea, i64 {ITLB_ENTRIES})
  call void @clear_set(ptr %i1, i32 %ea, i64 {ITLB_ENTRIES})
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, {BANKS}
  br i1 %more, label %loop, label %out
out:
  ret void
}}
define internal void @effect_python(ptr %cpu, i32 %code, i32 %arg) nounwind {{
{field("effect_callback", "cb", "ptr")}
  call void %cb(i32 %code, i32 %arg)
  ret void
}}
"""
