"""Translation caches: which table is in force, banks by segment registers, flushing.

A bank holds the translations of one set of sixteen segment registers.  Banks are found by a hash;
a bank that gives way is cleared where it was used.  While a register has changed since a bank was
chosen (`segments_dirty`), empty tables are in force; who misses there calls `resolve`.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu import exceptions
from gossamer.cpu.block import OFFSET
from gossamer.cpu.translation import MSR_DR, MSR_IR, MSR_PR
from gossamer.engine.context import (
    BANK_SETS,
    BANK_SIZE,
    BANK_WAYS,
    BANKS,
    BESIDE,
    CONTEXT,
    DTLB_ENTRIES,
    DTLB_SIZE,
    IRQ_EXIT,
    ITLB_ENTRIES,
    ITLB_SIZE,
    MANY_LINES,
    NO_BANK,
    NO_TAG,
    TLB_CHUNK,
    TLB_ENTRY,
)
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import field, store

_CHUNK_SIZE: Final = TLB_CHUNK * TLB_ENTRY
_CHUNK_SHIFT: Final = _CHUNK_SIZE.bit_length() - 1
#: Both tags of a line that matches nothing.
_NO_TAGS: Final = NO_TAG << 32 | NO_TAG
#: (byte offset of a bank's table, byte offset of its mask of used chunks), data tables first.
_TABLES: Final = (
    (0, 0),
    (DTLB_SIZE, 8),
    (2 * DTLB_SIZE, 16),
    (2 * DTLB_SIZE + ITLB_SIZE, 24),
)
#: Odd multipliers that spread the segment registers over the banks.
_SPREAD: Final = [(0x9E37_79B1 * (2 * n + 1)) & 0x7FFF_FFFF | 1 for n in range(16)]


def _for_used_chunks(name: str, parameters: str, body: str) -> str:
    """A function over a table's used chunks; `body` sees %chunk (pointer), ends in `br %next`."""
    return f"""
define internal void @{name}(ptr %table, ptr %used{parameters}) nounwind {{
entry:
  %all = load i64, ptr %used{TB_TLB}
  br label %loop
loop:
  %mask = phi i64 [ %all, %entry ], [ %rest, %next ]
  %none = icmp eq i64 %mask, 0
  br i1 %none, label %out, label %one
one:
  %n = call i64 @llvm.cttz.i64(i64 %mask, i1 true)
  %low = sub i64 %mask, 1
  %rest = and i64 %mask, %low
  %o = shl i64 %n, {_CHUNK_SHIFT}
  %chunk = getelementptr i8, ptr %table, i64 %o
{body}
out:"""


def _for_lines(body: str) -> str:
    """The lines of %chunk one after the other; `body` sees %line, ends in `br %on`."""
    return f"""  br label %lines
lines:
  %m = phi i64 [ 0, %one ], [ %m1, %on ]
  %lo = shl i64 %m, 4
  %line = getelementptr i8, ptr %chunk, i64 %lo
{body}
on:
  %m1 = add i64 %m, 1
  %more = icmp ult i64 %m1, {TLB_CHUNK}
  br i1 %more, label %lines, label %next
next:
  br label %loop"""


def _each_table(call: str, tables: tuple[tuple[int, int], ...] = _TABLES) -> str:
    """`call` for tables of the bank %bank (masks at %masks); it names %table and %used."""
    lines = []
    for n, (at, mask) in enumerate(tables):
        lines.append(f"  %table{n} = getelementptr i8, ptr %bank, i64 {at}")
        lines.append(f"  %used{n} = getelementptr i8, ptr %masks, i64 {mask}")
        lines.append("  " + call.replace("%table", f"%table{n}").replace("%used", f"%used{n}"))
    return "\n".join(lines)


def _for_banks(name: str, parameters: str, body: str) -> str:
    """A function over the banks that hold something; `body` sees %bank and %masks."""
    return f"""
define internal void @{name}(ptr %cpu{parameters}) nounwind noinline {{
entry:
{field("banks", "banks", "ptr")}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %next_n, %next ]
  %ho = shl i64 %n, 2
  %h0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_hash"]}
  %hp = getelementptr i8, ptr %h0, i64 %ho
  %hash = load i32, ptr %hp{TB_CPU}
  %empty = icmp eq i32 %hash, 0
  br i1 %empty, label %next, label %do
do:
  %bo = mul i64 %n, {BANK_SIZE}
  %bank = getelementptr i8, ptr %banks, i64 %bo
  %mo = shl i64 %n, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_used"]}
  %masks = getelementptr i8, ptr %m0, i64 %mo
{body}
  br label %next
next:
  %next_n = add i64 %n, 1
  %more = icmp ult i64 %next_n, {BANKS}
  br i1 %more, label %loop, label %out
out:
  ret void
}}"""


#: Clearing tables, or lines of them.
_CLEARING: Final = (
    _for_used_chunks(
        "clear_table",
        "",
        _for_lines(f"""  store i64 {_NO_TAGS}, ptr %line{TB_TLB}
  br label %on"""),
    )
    + f"""
  store i64 0, ptr %used{TB_TLB}
  ret void
}}
"""
    + _for_used_chunks(
        "clear_class",
        ", i32 %ea",
        f"""  %page = lshr i32 %ea, 12
  %class = and i32 %page, {TLB_CHUNK - 1}
  %cw = zext i32 %class to i64
  %lo = shl i64 %cw, 4
  %line = getelementptr i8, ptr %chunk, i64 %lo
  store i64 {_NO_TAGS}, ptr %line{TB_TLB}
  br label %next
next:
  br label %loop""",
    )
    + """
  ret void
}
"""
    + _for_used_chunks(
        "protect_host",
        ", ptr %host",
        _for_lines(f"""  %tp = getelementptr i8, ptr %line, i64 4
  %tag = load i32, ptr %tp{TB_TLB}
  %off = icmp eq i32 %tag, {NO_TAG}
  br i1 %off, label %on, label %compare
compare:
  %ap = getelementptr i8, ptr %line, i64 8
  %addend = load ptr, ptr %ap{TB_TLB}
  %at = and i32 %tag, -4096
  %tw = zext i32 %at to i64
  %there = getelementptr i8, ptr %addend, i64 %tw
  %same = icmp eq ptr %there, %host
  br i1 %same, label %protect, label %on
protect:
  %looks = or i32 %tag, {BESIDE}
  store i32 %looks, ptr %tp{TB_TLB}
  br label %on"""),
    )
    + f"""
  ret void
}}
define internal void @protect_line(ptr %table, i64 %n) nounwind {{
  %o = shl i64 %n, 4
  %line = getelementptr i8, ptr %table, i64 %o
  %tp = getelementptr i8, ptr %line, i64 4
  %tag = load i32, ptr %tp{TB_TLB}
  %none = icmp eq i32 %tag, {NO_TAG}
  %with = or i32 %tag, {BESIDE}
  %looks = select i1 %none, i32 {NO_TAG}, i32 %with
  store i32 %looks, ptr %tp{TB_TLB}
  ret void
}}
; Marks the chunk of the line %at bytes into a table as used.
define internal void @use_line(ptr %used, i64 %at) nounwind alwaysinline {{
  %n = lshr i64 %at, {_CHUNK_SHIFT}
  %one = shl i64 1, %n
  %old = load i64, ptr %used{TB_TLB}
  %new = or i64 %old, %one
  store i64 %new, ptr %used{TB_TLB}
  ret void
}}
"""
)

#: Stores to pages with decoded code take the slow path: write tags of them get `BESIDE`.
_PROTECTING: Final = (
    f"""
; Page %page has a write tag in line %n of some table.
define internal void @note_write_line(ptr %cpu, i64 %page, i64 %n) nounwind alwaysinline {{
{field("write_lines", "lines", "ptr")}
  %p = getelementptr i16, ptr %lines, i64 %page
  %old = load i16, ptr %p{TB_TLB}
  %n16 = trunc i64 %n to i16
  %mine = add i16 %n16, 1
  %none = icmp eq i16 %old, 0
  %same = icmp eq i16 %old, %mine
  %only = or i1 %none, %same
  %new = select i1 %only, i16 %mine, i16 {MANY_LINES - (1 << 16)}
  store i16 %new, ptr %p{TB_TLB}
  ret void
}}
"""
    + _for_banks(
        "protect_line_in_banks",
        ", i64 %line",
        "\n".join(
            f"  %d{n} = getelementptr i8, ptr %bank, i64 {at}\n"
            f"  call void @protect_line(ptr %d{n}, i64 %line)"
            for n, (at, _) in enumerate(_TABLES[:2])
        ),
    )
    + _for_banks(
        "protect_host_in_banks",
        ", ptr %host",
        _each_table("call void @protect_host(ptr %table, ptr %used, ptr %host)", _TABLES[:2]),
    )
    + f"""
; Arena page %page gets decoded code: stores through every line of it look.
define internal void @protect_page(ptr %cpu, i64 %page) nounwind noinline {{
{field("write_lines", "lines", "ptr")}
{field("d_real", "dreal", "ptr")}
  %p = getelementptr i16, ptr %lines, i64 %page
  %noted = load i16, ptr %p{TB_TLB}
  store i16 0, ptr %p{TB_TLB}
  switch i16 %noted, label %one [ i16 0, label %out
    i16 {MANY_LINES - (1 << 16)}, label %many ]
one:
  %n16 = sub i16 %noted, 1
  %n = zext i16 %n16 to i64
  call void @protect_line(ptr %dreal, i64 %n)
  call void @protect_line_in_banks(ptr %cpu, i64 %n)
  ret void
many:
{field("arena", "arena", "ptr")}
  %o = shl i64 %page, 12
  %host = getelementptr i8, ptr %arena, i64 %o
  %used = getelementptr i8, ptr %cpu, i64 {CONTEXT["real_used"]}
  call void @protect_host(ptr %dreal, ptr %used, ptr %host)
  call void @protect_host_in_banks(ptr %cpu, ptr %host)
  ret void
out:
  ret void
}}
"""
)

#: Which tables are in force.
_CHOOSING: Final = f"""
; Puts the tables of MSR, the bank and `bypass` in force.
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
  %mo = shl i64 %b, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_used"]}
  %masks = getelementptr i8, ptr %m0, i64 %mo
  %pr = and i32 %msr, {MSR_PR}
  %user = icmp ne i32 %pr, 0
  %do = select i1 %user, i64 {_TABLES[1][0]}, i64 {_TABLES[0][0]}
  %io = select i1 %user, i64 {_TABLES[3][0]}, i64 {_TABLES[2][0]}
  %dm = select i1 %user, i64 {_TABLES[1][1]}, i64 {_TABLES[0][1]}
  %im = select i1 %user, i64 {_TABLES[3][1]}, i64 {_TABLES[2][1]}
  %dbank = getelementptr i8, ptr %mine, i64 %do
  %ibank = getelementptr i8, ptr %mine, i64 %io
  %dmask = getelementptr i8, ptr %masks, i64 %dm
  %imask = getelementptr i8, ptr %masks, i64 %im
  %unknown = icmp ne i32 %dirty, 0
  %by = icmp ne i32 %bypass, 0
  %no_mask = getelementptr i8, ptr %cpu, i64 {CONTEXT["null_used"]}
  %real_dmask = getelementptr i8, ptr %cpu, i64 {CONTEXT["real_used"]}
  %real_imask = getelementptr i8, ptr %cpu, i64 {CONTEXT["real_used"] + 8}
  %drb = and i32 %msr, {MSR_DR}
  %irb = and i32 %msr, {MSR_IR}
  %dr = icmp ne i32 %drb, 0
  %ir = icmp ne i32 %irb, 0
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
{store("dtlb", "ptr", "%d")}
{store("dused", "ptr", "%dmf")}
{store("itlb", "ptr", "%i")}
{store("iused", "ptr", "%imf")}
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

; The bank of the present segment registers: one that has their translations, or a cleared one.
define internal void @choose_bank(ptr %cpu) nounwind noinline {{
entry:
  %srp = getelementptr i8, ptr %cpu, i64 {OFFSET["sr"]}
  %sr = load <16 x i32>, ptr %srp, align 4{TB_CPU}
  %spread = mul <16 x i32> %sr, <{", ".join(f"i32 {n}" for n in _SPREAD)}>
  %sum = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %spread)
  %mixed = mul i32 %sum, {0x85EB_CA6B - (1 << 32)}
  %set = lshr i32 %mixed, {32 - (BANK_SETS.bit_length() - 1)}
  %hash = or i32 %sum, 1
  %sw = zext i32 %set to i64
  %first = mul i64 %sw, {BANK_WAYS}
  %end = add i64 %first, {BANK_WAYS}
  %hashes = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_hash"]}
  %keys = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_segments"]}
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
  %ways = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_next"]}
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
  %bo = mul i64 %victim, {BANK_SIZE}
  %bank = getelementptr i8, ptr %banks, i64 %bo
  %mo = shl i64 %victim, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_used"]}
  %masks = getelementptr i8, ptr %m0, i64 %mo
{_each_table("call void @clear_table(ptr %table, ptr %used)")}
  br label %chosen
chosen:
  %which = phi i64 [ %n, %compare ], [ %victim, %evict ]
  %w32 = trunc i64 %which to i32
{store("bank", "i32", "%w32")}
{store("segments_dirty", "i32", "0")}
  call void @set_tables(ptr %cpu)
  ret void
}}

; The line of the page of %nia in the fetch table of the bank that was chosen last, where the
; segment of %nia has not changed since; else null.
define internal ptr @fetch_beside(ptr %cpu, i32 %nia) nounwind {{
{field("segments_dirty", "dirty", "i32")}
{field("msr", "msr", "i32")}
{field("bank", "bank", "i32")}
{field("banks", "banks", "ptr")}
  %segment = lshr i32 %nia, 28
  %bit = shl i32 1, %segment
  %changed = or i32 %bit, {NO_BANK}
  %bad = and i32 %dirty, %changed
  %valid = icmp eq i32 %bad, 0
  %irb = and i32 %msr, {MSR_IR}
  %ir = icmp ne i32 %irb, 0
  %may = and i1 %valid, %ir
  br i1 %may, label %look, label %out
look:
  %b = zext i32 %bank to i64
  %bo = mul i64 %b, {BANK_SIZE}
  %mine = getelementptr i8, ptr %banks, i64 %bo
  %pr = and i32 %msr, {MSR_PR}
  %user = icmp ne i32 %pr, 0
  %io = select i1 %user, i64 {_TABLES[3][0]}, i64 {_TABLES[2][0]}
  %table = getelementptr i8, ptr %mine, i64 %io
  %line = call ptr @line_of(ptr %table, i32 %nia)
  ret ptr %line
out:
  ret ptr null
}}

; The line of a fetch table that holds the page of %nia; null: none.
define internal ptr @line_of(ptr %table, i32 %nia) nounwind alwaysinline {{
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * TLB_ENTRY}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %table, i64 %c
  %tag = load i32, ptr %line{TB_TLB}
  %page = and i32 %nia, -4096
  %hit = icmp eq i32 %tag, %page
  %r = select i1 %hit, ptr %line, ptr null
  ret ptr %r
}}
"""

#: What follows when registers that translation depends on have changed.
_EFFECTS: Final = (
    f"""
; MSR changed: other tables, and perhaps something for the run loop to do.
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
{field("exit_request", "asked", "i32")}
  %why = select i1 %s, i32 1, i32 {IRQ_EXIT}
  %also = or i32 %asked, %why
{store("exit_request", "i32", "%also")}
  br label %out
out:
  ret void
}}

; Segment register %n changed.
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
}}

; Every translation is forgotten.
define internal void @effect_tlb(ptr %cpu) nounwind {{
  %hashes = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_hash"]}
  call void @llvm.memset.p0.i64(ptr %hashes, i8 0, i64 {4 * BANKS}, i1 false)
{store("segments_dirty", "i32", str(NO_BANK | 0xFFFF))}
  call void @set_tables(ptr %cpu)
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
  %dused = getelementptr i8, ptr %cpu, i64 {CONTEXT["real_used"]}
  %iused = getelementptr i8, ptr %cpu, i64 {CONTEXT["real_used"] + 8}
  call void @clear_table(ptr %dreal, ptr %dused)
  call void @clear_table(ptr %ireal, ptr %iused)
  call void @effect_tlb(ptr %cpu)
  ret void
}}
"""
    + _for_banks(
        "effect_tlbie",
        ", i32 %ea",
        _each_table("call void @clear_class(ptr %table, ptr %used, i32 %ea)"),
    )
    + f"""
define internal void @effect_python(ptr %cpu, i32 %code, i32 %arg) nounwind {{
{field("effect_callback", "cb", "ptr")}
  call void %cb(i32 %code, i32 %arg)
  ret void
}}
"""
)

TABLES: Final = _CLEARING + _PROTECTING + _CHOOSING + _EFFECTS
assert DTLB_ENTRIES // TLB_CHUNK <= 64
assert ITLB_ENTRIES % TLB_CHUNK == 0
