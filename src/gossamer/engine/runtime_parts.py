"""Small native functions in which families of parts differ.  Both have the same; LLVM inlines them.

`keeps_line`: whether a table may hold a translation; `in_order`: a value as a page's byte order has
it; `fetch_entries`: what executes a page; `enabled_sources`: the elements of `irq`, as a mask of
bytes, that MSR lets through; `watched_msr`: bits of MSR that the run loop has to see;
`context_key`: what distinguishes the translations of one context from those of another.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu import exceptions_405
from gossamer.cpu.msr import MSR_BE, MSR_EE, MSR_POW, MSR_SE
from gossamer.cpu.translation import FAULT_BITS, NO_LINE_FLAG, SWAPPED_FLAG
from gossamer.engine.context import DTLB_ENTRIES, EMBEDDED_ENTRIES, ITLB_ENTRIES
from gossamer.engine.emit import CHAIN, TB_CPU, TB_ENTRY, TB_MEM
from gossamer.engine.runtime_fields import Text, handler, tail
from gossamer.engine.runtime_table import tables_64
from gossamer.engine.runtime_tables import bank_tables, for_banks, forgotten
from gossamer.isa.architecture import Architecture
from gossamer.isa.interrupts import Irq405
from gossamer.isa.spec.parts import EMBEDDED

#: Lines that end `in_order`: %bit says that the value's bytes lie the other way round.
_TURN: Final = """  %other = icmp ne i64 %bit, 0
  %all = call i64 @llvm.bswap.i64(i64 %value)
  %n = shl i32 %size, 3
  %unused = sub i32 64, %n
  %w = zext i32 %unused to i64
  %turned = lshr i64 %all, %w
  %r = select i1 %other, i64 %turned, i64 %value
  ret i64 %r"""


def _in_order(w: Text) -> str:
    body = f"{w.field('le', 'bit', 'i64')}\n{_TURN}" if w.addresses.orders else "  ret i64 %value"
    head = f"(ptr %cpu, {w.x} %x, i64 %value, i32 %size) nounwind alwaysinline"
    return f"define internal i64 @in_order{head} {{\n{body}\n}}"


def _usual(w: Text) -> str:
    """Parts whose pages are all alike.

    MSR[EE] lets all through, but for a reset and a machine check, which are always looked at.
    """
    ea, x = w.ea, w.x
    return f"""
define internal i1 @keeps_line({x} %x) nounwind alwaysinline {{
  ret i1 true
}}
{_in_order(w)}
define internal ptr @fetch_entries(ptr %cpu, {x} %x, ptr %entries) nounwind alwaysinline {{
  ret ptr %entries
}}
define internal i64 @enabled_sources({ea} %msr) nounwind alwaysinline {{
  %eeb = and {ea} %msr, {MSR_EE}
  %ee = icmp ne {ea} %eeb, 0
  %mask = select i1 %ee, i64 -1, i64 65535
  ret i64 %mask
}}
define internal i32 @watched_msr({ea} %msr) nounwind alwaysinline {{
  %bits = and {ea} %msr, {MSR_POW | MSR_SE | MSR_BE}
{w.shrink("bits")}
  ret i32 {w.as_("bits")}
}}
define internal void @prepare_part(ptr %cpu) nounwind {{
  ret void
}}
"""


def _segments(w: Text) -> str:
    return f"""
define internal <16 x i32> @context_key(ptr %cpu) nounwind alwaysinline {{
  %p = getelementptr i8, ptr %cpu, i64 {w.offset_of("sr")}
  %key = load <16 x i32>, ptr %p, align 4{TB_CPU}
  ret <16 x i32> %key
}}
"""


def _sources(*of: Irq405) -> int:
    """A mask of their bytes in `irq`, as a signed number of 64 bits."""
    return sum(0xFF << 8 * n for n in of)


#: A page of 1 KiB, or one whose bytes lie the other way round, has no entries of its own: a page of
#: entries that all lead to `h_small` stands for it.  It looks its instruction up each time.
def _embedded(w: Text) -> str:
    field, store = w.field, w.store
    return f"""
define internal i1 @keeps_line(i64 %x) nounwind alwaysinline {{
  %bit = and i64 %x, {NO_LINE_FLAG << 32}
  %r = icmp eq i64 %bit, 0
  ret i1 %r
}}
define internal i64 @in_order(ptr %cpu, i64 %x, i64 %value, i32 %size) nounwind alwaysinline {{
  %bit = and i64 %x, {SWAPPED_FLAG << 32}
{_TURN}
}}
define internal ptr @fetch_entries(ptr %cpu, i64 %x, ptr %entries) nounwind alwaysinline {{
{field("entries_end", "end", "ptr")}
  %small = getelementptr i8, ptr %end, i64 {EMBEDDED_ENTRIES}
  %keeps = call i1 @keeps_line(i64 %x)
  %r = select i1 %keeps, ptr %entries, ptr %small
  ret ptr %r
}}
define internal i64 @enabled_sources(i32 %msr) nounwind alwaysinline {{
  %eeb = and i32 %msr, {MSR_EE}
  %ee = icmp ne i32 %eeb, 0
  %ceb = and i32 %msr, {exceptions_405.MSR_CE}
  %ce = icmp ne i32 %ceb, 0
  %m1 = select i1 %ee, i64 {_sources(Irq405.EXTERNAL, Irq405.PIT, Irq405.FIT)}, i64 0
  %m2 = select i1 %ce, i64 {_sources(Irq405.CRITICAL, Irq405.WATCHDOG)}, i64 0
  %m3 = or i64 %m1, %m2
  %mask = or i64 %m3, {_sources(Irq405.RESET, Irq405.MACHINE_CHECK)}
  ret i64 %mask
}}
define internal i32 @watched_msr(i32 %msr) nounwind alwaysinline {{
  %bits = and i32 %msr, {MSR_POW}
  ret i32 %bits
}}
define internal <16 x i32> @context_key(ptr %cpu) nounwind alwaysinline {{
{field("pid", "pid", "i32")}
{field("zpr", "zpr", "i32")}
  %a = insertelement <16 x i32> zeroinitializer, i32 %pid, i32 0
  %key = insertelement <16 x i32> %a, i32 %zpr, i32 1
  ret <16 x i32> %key
}}
define internal void @prepare_part(ptr %cpu) nounwind {{
{field("entries_end", "end", "ptr")}
  %small = getelementptr i8, ptr %end, i64 {EMBEDDED_ENTRIES}
  call void @fill_page(ptr %small, ptr @h_small)
  ret void
}}
{handler("h_small")}
  %cia = call i32 @cia_of(ptr %cpu, ptr %e)
  %x = call i64 @xlate_fetch(ptr %cpu, i32 %cia)
  %high = lshr i64 %x, 32
  %h = trunc i64 %high to i32
  %fault = and i32 %h, {FAULT_BITS}
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %fail, label %look
fail:
  call void @fetch_fault(ptr %cpu, i32 %cia, i32 %fault)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
{tail("h_sync", "null", "%left")}
look:
  %ra = trunc i64 %x to i32
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %illegal, label %ram
illegal:
{tail("h_illegal")}
ram:
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  %raw = load i32, ptr %host, align 4{TB_MEM}
  %big = call i32 @llvm.bswap.i32(i32 %raw)
  %wide = zext i32 %big to i64
  %ordered = call i64 @in_order(ptr %cpu, i64 %x, i64 %wide, i32 4)
  %word = trunc i64 %ordered to i32
  %low = and i32 %cia, 4092
  %o = zext i32 %low to i64
  %own = load ptr, ptr %e{TB_ENTRY}
  call void @decode_word(ptr %cpu, i32 %word, i64 %o, ptr %e)
  %found = load ptr, ptr %e{TB_ENTRY}
  store ptr %own, ptr %e{TB_ENTRY}
  musttail call {CHAIN} void %found(ptr %cpu, ptr %e, i64 %K)
  ret void
}}

; PID or ZPR changed: the tables of another context count.
define internal void @effect_pid(ptr %cpu) nounwind {{
{store("segments_dirty", "i32", str(0x1_FFFF))}
  call void @set_tables(ptr %cpu)
  ret void
}}

; A register of real mode's attributes changed.
define internal void @effect_attributes(ptr %cpu) nounwind {{
  call void @flush(ptr %cpu)
  call void @effect_msr(ptr %cpu)
  ret void
}}

; The entry of the TLB whose tag was %tag changed.
define internal void @effect_page(ptr %cpu, i32 %tag) nounwind noinline {{
entry:
  %vb = and i32 %tag, 64
  %valid = icmp ne i32 %vb, 0
  br i1 %valid, label %size, label %out
size:
  %s0 = lshr i32 %tag, 7
  %s = and i32 %s0, 7
  %many = icmp ugt i32 %s, 3
  br i1 %many, label %all, label %few
all:
  call void @effect_tlb(ptr %cpu)
  ret void
few:
  ; 1 K and 4 K lie in one page of an engine, 16 K in four, 64 K in sixteen.
  %larger = call i32 @llvm.umax.i32(i32 %s, i32 1)
  %up = sub i32 %larger, 1
  %shift = shl i32 %up, 1
  %count = shl i32 1, %shift
  br label %loop
loop:
  %n = phi i32 [ 0, %few ], [ %n1, %loop ]
  %o = shl i32 %n, 12
  %ea = add i32 %tag, %o
  call void @forget_page(ptr %cpu, i32 %ea)
  %n1 = add i32 %n, 1
  %more = icmp ult i32 %n1, %count
  br i1 %more, label %loop, label %out
out:
  ret void
}}
"""


#: Bits of a page's number that are known of an entry of the hash table (`HashTable.page_of`).
_KNOWN: Final = 12


def _lines_of_page(w: Text) -> list[tuple[int, str]]:
    """(place in a bank, what is added to it) of each line that can hold a page so far known."""
    out = []
    for n, (at, _) in enumerate(bank_tables(w)):
        entries, offset = (DTLB_ENTRIES, "%dl") if n < 2 else (ITLB_ENTRIES, "%il")
        apart = w.addresses.line.size << _KNOWN
        out += [(at + k * apart, offset) for k in range(max(entries >> _KNOWN, 1))]
    return out


def _forget_page(w: Text) -> str:
    known = (1 << _KNOWN) - 1
    return (
        for_banks(
            w,
            "forget_page",
            ", i32 %ea",
            f"""  %dl = call i64 @line_offset(i32 %ea, i32 {DTLB_ENTRIES - 1 & known})
  %il = call i64 @line_offset(i32 %ea, i32 {ITLB_ENTRIES - 1 & known})
"""
            + "\n".join(
                f"""  %t{n} = getelementptr i8, ptr %bank, i64 {at}
  %l{n} = getelementptr i8, ptr %t{n}, i64 {offset}
{forgotten(w, f"l{n}")}"""
                for n, (at, offset) in enumerate(_lines_of_page(w))
            ),
        )
        + f"""
define internal i64 @line_offset(i32 %ea, i32 %mask) nounwind alwaysinline {{
  %page = lshr i32 %ea, 12
  %n = and i32 %page, %mask
  %w = zext i32 %n to i64
  %o = mul i64 %w, {w.addresses.line.size}
  ret i64 %o
}}
"""
    )


#: For Python: an entry of the hash table has gone.
_FORGET = """
define void @forget(ptr %cpu, i64 %ea) nounwind {
  %low = trunc i64 %ea to i32
  call void @forget_page(ptr %cpu, i32 %low)
  %page = zext i32 %low to i64
  call void @note(ptr %cpu, i64 %page)
  ret void
}
"""


def parts(architecture: Architecture, w: Text) -> str:
    """The functions of an architecture."""
    if architecture.is_one(EMBEDDED):
        return _embedded(w) + _forget_page(w)
    if architecture.word == 64:
        return _usual(w) + tables_64(w) + _forget_page(w) + _FORGET
    return _usual(w) + _segments(w)
