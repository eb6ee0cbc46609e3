"""Tables of translations: clearing what of them was used, taking write tags away.

A bank (`runtime_banks`) has four tables, each with a mask of the chunks that were used.
"""

from __future__ import annotations

from gossamer.engine.context import (
    BANKS,
    BESIDE,
    DTLB_ENTRIES,
    ITLB_ENTRIES,
    MANY_LINES,
    NO_TAG,
    TLB_CHUNK,
    TLB_CLASSES,
)
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import Text


def forgotten(w: Text, line: str) -> str:
    """Lines that give a line both tags that match nothing."""
    if w.ea == "i32":
        return f"  store i64 {NO_TAG << 32 | NO_TAG}, ptr %{line}{TB_TLB}"
    return f"  store <2 x i64> <i64 {NO_TAG}, i64 {NO_TAG}>, ptr %{line}, align 16{TB_TLB}"


def bank_tables(w: Text) -> tuple[tuple[int, int], ...]:
    """(byte offset of a bank's table, of its mask of used chunks), data tables first."""
    size = w.addresses.tables
    return (0, 0), (size.dtlb, 8), (2 * size.dtlb, 16), (2 * size.dtlb + size.itlb, 24)


def _lines_of_class(w: Text) -> str:
    """Lines that forget those of a chunk's that belong to the class of %line0."""
    apart, out = TLB_CLASSES << w.addresses.line_log, [forgotten(w, "line0")]
    for n in range(1, TLB_CHUNK // TLB_CLASSES):
        out += [f"  %line{n} = getelementptr i8, ptr %line0, i64 {n * apart}"]
        out += [forgotten(w, f"line{n}")]
    return "\n".join(out)


def _chunk_shift(w: Text) -> int:
    return w.addresses.line_log + TLB_CHUNK.bit_length() - 1


def for_used_chunks(w: Text, name: str, parameters: str, body: str) -> str:
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
  %o = shl i64 %n, {_chunk_shift(w)}
  %chunk = getelementptr i8, ptr %table, i64 %o
{body}
out:"""


def for_lines(w: Text, body: str) -> str:
    """The lines of %chunk one after the other; `body` sees %line, ends in `br %on`."""
    return f"""  br label %lines
lines:
  %m = phi i64 [ 0, %one ], [ %m1, %on ]
  %lo = shl i64 %m, {w.addresses.line_log}
  %line = getelementptr i8, ptr %chunk, i64 %lo
{body}
on:
  %m1 = add i64 %m, 1
  %more = icmp ult i64 %m1, {TLB_CHUNK}
  br i1 %more, label %lines, label %next
next:
  br label %loop"""


def each_table(w: Text, call: str, count: int = 4) -> str:
    """`call`, which names %table and %used, for the first tables of %bank (masks at %masks)."""
    lines = []
    for n, (at, mask) in enumerate(bank_tables(w)[:count]):
        lines.append(f"  %table{n} = getelementptr i8, ptr %bank, i64 {at}")
        lines.append(f"  %used{n} = getelementptr i8, ptr %masks, i64 {mask}")
        lines.append("  " + call.replace("%table", f"%table{n}").replace("%used", f"%used{n}"))
    return "\n".join(lines)


def for_banks(w: Text, name: str, parameters: str, body: str) -> str:
    """A function over the banks that hold something; `body` sees %bank and %masks."""
    return f"""
define internal void @{name}(ptr %cpu{parameters}) nounwind noinline {{
entry:
{w.field("banks", "banks", "ptr")}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %next_n, %next ]
  %ho = shl i64 %n, 2
  %h0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_hash")}
  %hp = getelementptr i8, ptr %h0, i64 %ho
  %hash = load i32, ptr %hp{TB_CPU}
  %empty = icmp eq i32 %hash, 0
  br i1 %empty, label %next, label %do
do:
  %bo = mul i64 %n, {w.addresses.tables.bank}
  %bank = getelementptr i8, ptr %banks, i64 %bo
  %mo = shl i64 %n, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_used")}
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
def _clearing(w: Text) -> str:
    ea = w.ea
    return (
        for_used_chunks(
            w,
            "clear_table",
            "",
            for_lines(
                w,
                f"""{forgotten(w, "line")}
  br label %on""",
            ),
        )
        + f"""
  store i64 0, ptr %used{TB_TLB}
  ret void
}}
"""
        + for_used_chunks(
            w,
            "clear_class",
            f", {ea} %ea",
            f"""  %page = lshr {ea} %ea, 12
  %class = and {ea} %page, {TLB_CLASSES - 1}
{w.wide("cw", "class")}
  %lo = shl i64 %cw, {w.addresses.line_log}
  %line0 = getelementptr i8, ptr %chunk, i64 %lo
{_lines_of_class(w)}
  br label %next
next:
  br label %loop""",
        )
        + """
  ret void
}
"""
        + for_used_chunks(
            w,
            "protect_host",
            ", ptr %host",
            for_lines(
                w,
                f"""  %tp = getelementptr i8, ptr %line, i64 {w.addresses.line.write}
  %tag = load {ea}, ptr %tp{TB_TLB}
  %off = icmp eq {ea} %tag, {NO_TAG}
  br i1 %off, label %on, label %compare
compare:
  %ap = getelementptr i8, ptr %line, i64 {w.addend}
  %addend = load ptr, ptr %ap{TB_TLB}
  %at = and {ea} %tag, -4096
{w.wide("tw", "at")}
  %there = getelementptr i8, ptr %addend, i64 %tw
  %same = icmp eq ptr %there, %host
  br i1 %same, label %protect, label %on
protect:
  %looks = or {ea} %tag, {BESIDE}
  store {ea} %looks, ptr %tp{TB_TLB}
  br label %on""",
            ),
        )
        + f"""
  ret void
}}
define internal void @protect_line(ptr %table, i64 %n) nounwind {{
  %o = shl i64 %n, {w.addresses.line_log}
  %line = getelementptr i8, ptr %table, i64 %o
  %tp = getelementptr i8, ptr %line, i64 {w.addresses.line.write}
  %tag = load {ea}, ptr %tp{TB_TLB}
  %none = icmp eq {ea} %tag, {NO_TAG}
  %with = or {ea} %tag, {BESIDE}
  %looks = select i1 %none, {ea} {NO_TAG}, {ea} %with
  store {ea} %looks, ptr %tp{TB_TLB}
  ret void
}}
; Marks the chunk of the line %at bytes into a table as used.
define internal void @use_line(ptr %used, i64 %at) nounwind alwaysinline {{
  %n = lshr i64 %at, {_chunk_shift(w)}
  %one = shl i64 1, %n
  %old = load i64, ptr %used{TB_TLB}
  %new = or i64 %old, %one
  store i64 %new, ptr %used{TB_TLB}
  ret void
}}
"""
    )


#: Stores to pages with decoded code take the slow path: write tags of them get `BESIDE`.
def _protecting(w: Text) -> str:
    field = w.field
    return (
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
            w,
            "protect_line_in_banks",
            ", i64 %line",
            "\n".join(
                f"  %d{n} = getelementptr i8, ptr %bank, i64 {at}\n"
                f"  call void @protect_line(ptr %d{n}, i64 %line)"
                for n, (at, _) in enumerate(bank_tables(w)[:2])
            ),
        )
        + for_banks(
            w,
            "protect_host_in_banks",
            ", ptr %host",
            each_table(w, "call void @protect_host(ptr %table, ptr %used, ptr %host)", 2),
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
  %used = getelementptr i8, ptr %cpu, i64 {w.offset_of("real_used")}
  call void @protect_host(ptr %dreal, ptr %used, ptr %host)
  call void @protect_host_in_banks(ptr %cpu, ptr %host)
  ret void
out:
  ret void
}}
"""
    )


def tables(w: Text) -> str:
    """Everything of this file."""
    return _clearing(w) + _protecting(w)


assert DTLB_ENTRIES // TLB_CHUNK <= 64
assert ITLB_ENTRIES % TLB_CHUNK == TLB_CHUNK % TLB_CLASSES == 0
