"""Tables of translations: clearing what of them was used, taking write tags away.

A bank (`runtime_banks`) has four tables, each with a mask of the chunks that were used.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.context import (
    BANK_SIZE,
    BANKS,
    BESIDE,
    CONTEXT,
    DTLB_ENTRIES,
    DTLB_SIZE,
    ITLB_ENTRIES,
    ITLB_SIZE,
    MANY_LINES,
    NO_TAG,
    TLB_CHUNK,
    TLB_ENTRY,
)
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import field

_CHUNK_SIZE: Final = TLB_CHUNK * TLB_ENTRY
_CHUNK_SHIFT: Final = _CHUNK_SIZE.bit_length() - 1
#: Both tags of a line that matches nothing.
NO_TAGS: Final = NO_TAG << 32 | NO_TAG
#: (byte offset of a bank's table, byte offset of its mask of used chunks), data tables first.
BANK_TABLES: Final = (
    (0, 0),
    (DTLB_SIZE, 8),
    (2 * DTLB_SIZE, 16),
    (2 * DTLB_SIZE + ITLB_SIZE, 24),
)


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


def each_table(call: str, tables: tuple[tuple[int, int], ...] = BANK_TABLES) -> str:
    """`call` for tables of the bank %bank (masks at %masks); it names %table and %used."""
    lines = []
    for n, (at, mask) in enumerate(tables):
        lines.append(f"  %table{n} = getelementptr i8, ptr %bank, i64 {at}")
        lines.append(f"  %used{n} = getelementptr i8, ptr %masks, i64 {mask}")
        lines.append("  " + call.replace("%table", f"%table{n}").replace("%used", f"%used{n}"))
    return "\n".join(lines)


def for_banks(name: str, parameters: str, body: str) -> str:
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
        _for_lines(f"""  store i64 {NO_TAGS}, ptr %line{TB_TLB}
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
  store i64 {NO_TAGS}, ptr %line{TB_TLB}
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
    + for_banks(
        "protect_line_in_banks",
        ", i64 %line",
        "\n".join(
            f"  %d{n} = getelementptr i8, ptr %bank, i64 {at}\n"
            f"  call void @protect_line(ptr %d{n}, i64 %line)"
            for n, (at, _) in enumerate(BANK_TABLES[:2])
        ),
    )
    + for_banks(
        "protect_host_in_banks",
        ", ptr %host",
        each_table("call void @protect_host(ptr %table, ptr %used, ptr %host)", BANK_TABLES[:2]),
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

TABLES: Final = _CLEARING + _PROTECTING
assert DTLB_ENTRIES // TLB_CHUNK <= 64
assert ITLB_ENTRIES % TLB_CHUNK == 0
