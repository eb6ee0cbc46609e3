"""Which tables of translations are in force: banks by segment registers.

A bank holds the translations of one set of sixteen segment registers.  Banks are found by a hash;
a bank that gives way is cleared where it was used.  While a register has changed since a bank was
chosen (`segments_dirty`), empty tables are in force; where something is missed there, `resolve` is
called.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import MSR_DR, MSR_IR, MSR_PR
from gossamer.engine.context import (
    BANK_SETS,
    BANK_WAYS,
    ITLB_ENTRIES,
    NO_BANK,
)
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import Text
from gossamer.engine.runtime_slb import KERNELS, choosing_64
from gossamer.engine.runtime_tables import bank_tables, each_table

#: Odd multipliers that spread the segment registers over the banks.
_SPREAD: Final = [(0x9E37_79B1 * (2 * n + 1)) & 0x7FFF_FFFF | 1 for n in range(16)]


def _mode(w: Text) -> str:
    if w.ea == "i32":
        return ""
    return f"""  %sf = ashr i64 %msr, 63
  %mode = or i64 %sf, {0xFFFF_FFFF}
{w.store("mode", "i64", "%mode")}"""


def _fetch_beside(w: Text) -> str:
    field, ea = w.field, w.ea
    at = bank_tables(w)
    return f"""; The line of the page of %nia in the fetch table of the bank that was chosen
; last, where the segment of %nia has not changed since; else null.
define internal ptr @fetch_beside(ptr %cpu, {ea} %nia) nounwind {{
{field("segments_dirty", "dirty", "i32")}
{field("msr", "msr", ea)}
{field("bank", "bank", "i32")}
{field("banks", "banks", "ptr")}
  %segment = lshr {ea} %nia, 28
  %bit = shl i32 1, %segment
  %changed = or i32 %bit, {NO_BANK}
  %bad = and i32 %dirty, %changed
  %valid = icmp eq i32 %bad, 0
  %irb = and {ea} %msr, {MSR_IR}
  %ir = icmp ne {ea} %irb, 0
  %may = and i1 %valid, %ir
  br i1 %may, label %look, label %out
look:
  %b = zext i32 %bank to i64
  %bo = mul i64 %b, {w.addresses.tables.bank}
  %mine = getelementptr i8, ptr %banks, i64 %bo
  %pr = and {ea} %msr, {MSR_PR}
  %user = icmp ne {ea} %pr, 0
  %io = select i1 %user, i64 {at[3][0]}, i64 {at[2][0]}
  %table = getelementptr i8, ptr %mine, i64 %io
  %line = call ptr @line_of(ptr %table, {ea} %nia)
  ret ptr %line
out:
  ret ptr null
}}"""


def _side(w: Text) -> str:
    """The number of the bank in force, %b: on 64-bit models the user's or the kernel's."""
    if w.ea == "i32":
        return "  %b = zext i32 %bank to i64\n"
    return f"""{w.field("kernel_bank", "kernel", "i32")}
  %prb = and i64 %msr, {MSR_PR}
  %is_user = icmp ne i64 %prb, 0
  %kernel_dirty = and i32 %dirty, {KERNELS}
  %side_dirty = select i1 %is_user, i32 %dirty, i32 %kernel_dirty
  %side = select i1 %is_user, i32 %bank, i32 %kernel
  %b = zext i32 %side to i64
"""


def _in_force(w: Text) -> str:
    """`set_tables`."""
    field, store, ea = w.field, w.store, w.ea
    at = bank_tables(w)
    return f"""
; Puts the tables of MSR, the bank and `bypass` in force.
define internal void @set_tables(ptr %cpu) nounwind {{
{field("msr", "msr", ea)}
{field("segments_dirty", "dirty", "i32")}
{field("bypass", "bypass", "i32")}
{field("bank", "bank", "i32")}
{field("banks", "banks", "ptr")}
{field("d_real", "dreal", "ptr")}
{field("i_real", "ireal", "ptr")}
{field("d_null", "dnull", "ptr")}
{field("i_null", "inull", "ptr")}
{_side(w)}  %bo = mul i64 %b, {w.addresses.tables.bank}
  %mine = getelementptr i8, ptr %banks, i64 %bo
  %mo = shl i64 %b, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_used")}
  %masks = getelementptr i8, ptr %m0, i64 %mo
  %pr = and {ea} %msr, {MSR_PR}
  %user = icmp ne {ea} %pr, 0
  %do = select i1 %user, i64 {at[1][0]}, i64 {at[0][0]}
  %io = select i1 %user, i64 {at[3][0]}, i64 {at[2][0]}
  %dm = select i1 %user, i64 {at[1][1]}, i64 {at[0][1]}
  %im = select i1 %user, i64 {at[3][1]}, i64 {at[2][1]}
  %dbank = getelementptr i8, ptr %mine, i64 %do
  %ibank = getelementptr i8, ptr %mine, i64 %io
  %dmask = getelementptr i8, ptr %masks, i64 %dm
  %imask = getelementptr i8, ptr %masks, i64 %im
  %unknown = icmp ne i32 {"%dirty" if ea == "i32" else "%side_dirty"}, 0
  %by = icmp ne i32 %bypass, 0
  %no_mask = getelementptr i8, ptr %cpu, i64 {w.offset_of("null_used")}
  %real_dmask = getelementptr i8, ptr %cpu, i64 {w.offset_of("real_used")}
  %real_imask = getelementptr i8, ptr %cpu, i64 {w.offset_of("real_used") + 8}
  %drb = and {ea} %msr, {MSR_DR}
  %irb = and {ea} %msr, {MSR_IR}
  %dr = icmp ne {ea} %drb, 0
  %ir = icmp ne {ea} %irb, 0
  %dx = select i1 %unknown, ptr %dnull, ptr %dbank
  %ix = select i1 %unknown, ptr %inull, ptr %ibank
  %dxm = select i1 %unknown, ptr %no_mask, ptr %dmask
  %ixm = select i1 %unknown, ptr %no_mask, ptr %imask
  %d0 = select i1 %dr, ptr %dx, ptr %dreal
  %d0m = select i1 %dr, ptr %dxm, ptr %real_dmask
  %d = select i1 %by, ptr %dnull, ptr %d0
  %dmf = select i1 %by, ptr %no_mask, ptr %d0m
  %i = select i1 %ir, ptr %ix, ptr %ireal
  %imf = select i1 %ir, ptr %ixm, ptr %real_imask
{_mode(w)}
{store("dtlb", "ptr", "%d")}
{store("dused", "ptr", "%dmf")}
{store("itlb", "ptr", "%i")}
{store("iused", "ptr", "%imf")}
  ret void
}}
"""


def choosing(w: Text) -> str:
    """Which tables are in force."""
    line = _line_of(w)
    return _in_force(w) + (_choosing(w) + line if w.ea == "i32" else line + choosing_64(w))


def _choosing(w: Text) -> str:
    field, store = w.field, w.store
    return f"""

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

; The bank of the present segment registers: one that has their translations, or a cleared one.
define internal void @choose_bank(ptr %cpu) nounwind noinline {{
entry:
  %sr = call <16 x i32> @context_key(ptr %cpu)
  %spread = mul <16 x i32> %sr, <{", ".join(f"i32 {n}" for n in _SPREAD)}>
  %sum = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %spread)
  %mixed = mul i32 %sum, {0x85EB_CA6B - (1 << 32)}
  %set = lshr i32 %mixed, {32 - (BANK_SETS.bit_length() - 1)}
  %hash = or i32 %sum, 1
  %sw = zext i32 %set to i64
  %first = mul i64 %sw, {BANK_WAYS}
  %end = add i64 %first, {BANK_WAYS}
  %hashes = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_hash")}
  %keys = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_segments")}
  br label %loop
loop:
  %n = phi i64 [ %first, %entry ], [ %m, %next ]
  %hp = getelementptr i32, ptr %hashes, i64 %n
  %h = load i32, ptr %hp{TB_CPU}
  %alike = icmp eq i32 %h, %hash
  br i1 %alike, label %compare, label %next
compare:
  %ko = shl i64 %n, 6
  %kp = getelementptr i8, ptr %keys, i64 %ko
  %k = load <16 x i32>, ptr %kp, align 4{TB_CPU}
  %x = xor <16 x i32> %k, %sr
  %o = call i32 @llvm.vector.reduce.or.v16i32(<16 x i32> %x)
  %same = icmp eq i32 %o, 0
  br i1 %same, label %chosen, label %next
next:
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, %end
  br i1 %more, label %loop, label %evict
evict:
  %ways = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_next")}
  %wp = getelementptr i8, ptr %ways, i64 %sw
  %way = load i8, ptr %wp{TB_CPU}
  %way1 = add i8 %way, 1
  %way2 = and i8 %way1, {BANK_WAYS - 1}
  store i8 %way2, ptr %wp{TB_CPU}
  %way_w = zext i8 %way to i64
  %victim = add i64 %first, %way_w
  %vhp = getelementptr i32, ptr %hashes, i64 %victim
  store i32 %hash, ptr %vhp{TB_CPU}
  %vko = shl i64 %victim, 6
  %vkp = getelementptr i8, ptr %keys, i64 %vko
  store <16 x i32> %sr, ptr %vkp, align 4{TB_CPU}
{field("banks", "banks", "ptr")}
  %bo = mul i64 %victim, {w.addresses.tables.bank}
  %bank = getelementptr i8, ptr %banks, i64 %bo
  %mo = shl i64 %victim, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_used")}
  %masks = getelementptr i8, ptr %m0, i64 %mo
{each_table(w, "call void @clear_table(ptr %table, ptr %used)")}
  br label %chosen
chosen:
  %which = phi i64 [ %n, %compare ], [ %victim, %evict ]
  %w32 = trunc i64 %which to i32
{store("bank", "i32", "%w32")}
{store("segments_dirty", "i32", "0")}
  call void @set_tables(ptr %cpu)
  ret void
}}

{_fetch_beside(w)}
"""


def _line_of(w: Text) -> str:
    ea = w.ea
    return f"""
; The line of a fetch table that holds the page of %nia; null: none.
define internal ptr @line_of(ptr %table, {ea} %nia) nounwind alwaysinline {{
{w.line_offset("c", "nia", ITLB_ENTRIES)}
  %line = getelementptr i8, ptr %table, i64 %c
  %tag = load {ea}, ptr %line{TB_TLB}
  %page = and {ea} %nia, -4096
  %hit = icmp eq {ea} %tag, %page
  %r = select i1 %hit, ptr %line, ptr null
  ret ptr %r
}}
"""
