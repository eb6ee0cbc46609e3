"""The native function that makes blocks: it copies stencils and fills their holes.

``copy(desk, ea)`` makes the block at an effective address and those that it leads to, one after
the other, and gives 0 when the arena is full.  All it knows comes from the desk (`DESK`) and from
tables that a sheet has (`sheet`):

- a row a stencil: where its code lies, its bytes, the first and the number of its marks, whether it
  goes on behind itself;
- marks: offset in the code, how it is filled (`hosts.Fill`), the number of a hole's value or of
  what it leads to, an addend;
- slots, found by the address of tier 0's handler: handler, row, the number of the unit;
- for each unit where its code, marks and functions lie, and the addresses that marks lead to.
"""

from __future__ import annotations

import struct
from typing import Final

from gossamer.base.bits import signed
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.addresses import Addresses
from gossamer.engine.context import ENTRY_STRIDE, ITLB_ENTRIES, LINE
from gossamer.engine.stencils.hosts import Fill

#: What is copied behind a stencil.
NEXT: Final = "stencil_next"
#: The stencil that goes on at the entry, whatever is there; the first part of the others' names.
STOP: Final = "stencil_stop"
STENCIL: Final = "stencil "
#: Instructions of one block, and of the blocks that are made at once, at the most.
LONGEST: Final = 64
TOGETHER: Final = 256
#: Places that are still to be looked at, at the most: each instruction leads to two, or fewer.
QUEUE: Final = 1024
#: Blocks of one call, at the most: each has an instruction.
MOST: Final = TOGETHER + LONGEST
#: What the function is given, 8 bytes each: the table of slots, by how much a hash of theirs goes
#: right and the mask of their numbers; units; the row of the stencil that ends a block; the
#: arena as it is written and as it runs, and its bytes; lines that are left alone, and their
#: mask; the first entry and the end of entries; the queue; where blocks are noted; then what
#: changes from call to call: bytes of the arena in use, the instruction count, the bits of an
#: address, the fetch TLB, and how many blocks were noted.
DESK: Final = (
    *("slots", "shift", "mask", "units", "stop", "write", "run", "size"),
    *("pauses", "pause_mask", "entries", "end", "queue", "blocks"),
    *("used", "now", "addresses", "itlb", "count"),
)
ROW: Final = struct.Struct("<5I12x")
MARK: Final = struct.Struct("<3Ii")
SLOT: Final = struct.Struct("<3Q")
UNIT: Final = struct.Struct("<4Q")
#: A block that was made: its entry, where its words end in the page, its address.
BLOCK: Final = struct.Struct("<3Q")
PAUSE: Final = struct.Struct("<2Q")
#: Code is copied in chunks of so many bytes: what is behind it may be read and written.
CHUNK: Final = 16
#: What spreads handlers over slots.
SPREAD: Final = 0x9E37_79B9_7F4A_7C15
_ALIGNMENT: Final = 16
#: AArch64: MOVZ and MOVN of bits 16 to 31, MOVK and MOVZ of the low ones, NOP.
_MOVZ, _MOVN, _MOVK = 0xD280_0000, 0x9280_0000, 0xF280_0000
_SHIFTED, _NOP = 1 << 21, 0xD503_201F


def copying(words: Addresses) -> str:
    """LLVM text of the function and of what it calls."""
    return "\n".join((_copy(words), _push(), _find(), _is_paused(), _place(), _filled(), _led()))


def _get(name: str, kind: str = "i64") -> str:
    """Lines that load a value of the desk into %name."""
    at = 8 * DESK.index(name)
    return f"""  %{name}.p = getelementptr i8, ptr %d, i64 {at}
  %{name} = load {kind}, ptr %{name}.p"""


def _at(result: str, base: str, offset: str, kind: str) -> str:
    """Lines that load %result from `offset` bytes behind a pointer."""
    return f"""  %{result}.p = getelementptr i8, ptr {base}, i64 {offset}
  %{result} = load {kind}, ptr %{result}.p, align 4"""


def _copy(words: Addresses) -> str:
    line = words.line
    return f"""
define i64 @copy(ptr %d, i64 %first) nounwind {{
entry:
  %head = alloca i64
  %tail = alloca i64
  %left = alloca i64
  %at = alloca i64
  %e = alloca ptr
  %n = alloca i64
  %pos = alloca i64
{_get("queue", "ptr")}
{_get("addresses")}
{_get("entries")}
{_get("end")}
{_get("write", "ptr")}
{_get("run")}
{_get("size")}
{_get("blocks", "ptr")}
{_get("stop", "ptr")}
{_get("itlb", "ptr")}
  %used.p = getelementptr i8, ptr %d, i64 {8 * DESK.index("used")}
  %count.p = getelementptr i8, ptr %d, i64 {8 * DESK.index("count")}
  store i64 0, ptr %count.p
  store i64 %first, ptr %queue
  store i64 0, ptr %head
  store i64 1, ptr %tail
  store i64 {TOGETHER}, ptr %left
  %stop.size.p = getelementptr i8, ptr %stop, i64 4
  %stop.size = load i32, ptr %stop.size.p
  %stop.wide = zext i32 %stop.size to i64
  %spare = add i64 %stop.wide, {2 * CHUNK}
  br label %next

; The next place of the queue.
next:
  %h = load i64, ptr %head
  %t = load i64, ptr %tail
  %l = load i64, ptr %left
  %some = icmp ult i64 %h, %t
  %room = icmp sgt i64 %l, 0
  %both = and i1 %some, %room
  br i1 %both, label %take, label %whole
whole:
  ret i64 1
take:
  %h1 = add i64 %h, 1
  store i64 %h1, ptr %head
  %qp = getelementptr i64, ptr %queue, i64 %h
  %ea = load i64, ptr %qp
  %up = and i64 %ea, {-PAGE_SIZE}
  %ea.page = and i64 %up, %addresses
  %off = and i64 %ea, {PAGE_SIZE - 4}
  %line.a = lshr i64 %ea, {words.line_shift}
  %line.b = and i64 %line.a, {words.lines(ITLB_ENTRIES)}
  %line = getelementptr i8, ptr %itlb, i64 %line.b
  %tag.n = load {words.type}, ptr %line
  {f"%tag = zext {words.type} %tag.n to i64" if words.width < 64 else "%tag = add i64 %tag.n, 0"}
  %base.p = getelementptr i8, ptr %line, i64 {line.addend}
  %base = load i64, ptr %base.p
  %known = icmp eq i64 %tag, %ea.page
  %low = icmp uge i64 %base, %entries
  %high = icmp ult i64 %base, %end
  %k1 = and i1 %known, %low
  %k2 = and i1 %k1, %high
  br i1 %k2, label %fetched, label %next
fetched:
  %from = sub i64 %base, %entries
  %page = udiv i64 %from, {ENTRY_STRIDE}
  %page.at = shl i64 %page, 12
  %off4 = shl i64 %off, 2
  %e0i = add i64 %base, %off4
  %e0 = inttoptr i64 %e0i to ptr
  %had = load i64, ptr %e0
  %had.in = sub i64 %had, %run
  %has = icmp ult i64 %had.in, %size
  br i1 %has, label %next, label %begin
begin:
  %used = load i64, ptr %used.p
  %used.up = add i64 %used, {_ALIGNMENT - 1}
  %out = and i64 %used.up, {-_ALIGNMENT}
  store i64 %out, ptr %pos
  store i64 %off, ptr %at
  store ptr %e0, ptr %e
  %in.page = sub i64 {PAGE_SIZE}, %off
  %n.page = lshr i64 %in.page, 2
  %n.short = icmp ult i64 %n.page, {LONGEST}
  %n0 = select i1 %n.short, i64 %n.page, i64 {LONGEST}
  store i64 %n0, ptr %n
  br label %step

; One instruction.
step:
  %nn = load i64, ptr %n
  %p = load i64, ptr %pos
  %a = load i64, ptr %at
  %ep = load ptr, ptr %e
  %none = icmp eq i64 %nn, 0
  br i1 %none, label %close, label %look
look:
  %isfirst = icmp eq i64 %a, %off
  %in.line = and i64 %a, {LINE - 1}
  %starts = icmp eq i64 %in.line, 0
  %new = or i1 %isfirst, %starts
  br i1 %new, label %line.new, label %word
line.new:
  %place = add i64 %page.at, %a
  %number = lshr i64 %place, {LINE.bit_length() - 1}
  %paused = call i1 @is_paused(ptr %d, i64 %number)
  br i1 %paused, label %close, label %word
word:
  %handler = load i64, ptr %ep
  %h.in = sub i64 %handler, %run
  %h.code = icmp ult i64 %h.in, %size
  %later = xor i1 %isfirst, true
  %other = and i1 %h.code, %later
  br i1 %other, label %close, label %find
find:
  %slot = call ptr @find(ptr %d, i64 %handler)
  %lacks = icmp eq ptr %slot, null
  br i1 %lacks, label %unknown, label %found
unknown:
  %a4 = add i64 %a, 4
  call void @push(ptr %d, ptr %tail, i64 %ea.page, i64 %a4)
  br label %close
found:
  %row.p = getelementptr i8, ptr %slot, i64 8
  %row = load ptr, ptr %row.p
  %unit.p = getelementptr i8, ptr %slot, i64 16
  %unit = load i64, ptr %unit.p
{_at("bytes", "%row", "4", "i32")}
{_at("goes", "%row", "16", "i32")}
  %bytes.w = zext i32 %bytes to i64
  %then = add i64 %p, %bytes.w
  %need = add i64 %then, %spare
  %fits = icmp ule i64 %need, %size
  br i1 %fits, label %fill, label %full
full:
  ret i64 0
fill:
{_at("w", "%ep", "8", "i32")}
  %a32 = trunc i64 %a to i32
  call void @place(ptr %d, ptr %row, i64 %unit, i64 %p, i32 %w, i32 %a32)
  store i64 %then, ptr %pos
  %next.at = add i64 %a, 4
  store i64 %next.at, ptr %at
  %next.e = getelementptr i8, ptr %ep, i64 16
  store ptr %next.e, ptr %e
  %n1 = sub i64 %nn, 1
  store i64 %n1, ptr %n
  %form = lshr i32 %w, 26
  switch i32 %form, label %on [ i32 16, label %short  i32 18, label %long ]
short:
  %s1 = and i32 %w, 65532
  %s2 = shl i32 %s1, 16
  %s3 = ashr i32 %s2, 16
  br label %ahead
long:
  %l1 = and i32 %w, 67108860
  %l2 = shl i32 %l1, 6
  %l3 = ashr i32 %l2, 6
  br label %ahead
ahead:
  %far32 = phi i32 [ %s3, %short ], [ %l3, %long ]
  %far = sext i32 %far32 to i64
  %to = add i64 %a, %far
  call void @push(ptr %d, ptr %tail, i64 %ea.page, i64 %to)
  br label %on
on:
  %goes.on = icmp ne i32 %goes, 0
  br i1 %goes.on, label %step, label %ends
ends:
  %link = and i32 %w, 1
  %links = icmp ne i32 %link, 0
  br i1 %links, label %returns, label %made
returns:
  call void @push(ptr %d, ptr %tail, i64 %ea.page, i64 %next.at)
  br label %made

; The block goes on behind its last stencil: at the entry.  One instruction alone is not worth it.
close:
  %words = sub i64 %a, %off
  %few = icmp ult i64 %words, 8
  br i1 %few, label %forget, label %stopped
forget:
  store i64 %t, ptr %tail
  br label %next
stopped:
  call void @place(ptr %d, ptr %stop, i64 0, i64 %p, i32 0, i32 0)
  %after = add i64 %p, %stop.wide
  store i64 %after, ptr %pos
  br label %made
made:
  %last = load i64, ptr %pos
  store i64 %last, ptr %used.p
  %to.at = load i64, ptr %at
  %did = sub i64 %to.at, %off
  %did4 = lshr i64 %did, 2
  %l4 = sub i64 %l, %did4
  store i64 %l4, ptr %left
  %c = load i64, ptr %count.p
  %c24 = mul i64 %c, {BLOCK.size}
  %b = getelementptr i8, ptr %blocks, i64 %c24
  store i64 %e0i, ptr %b
  %b8 = getelementptr i8, ptr %b, i64 8
  store i64 %to.at, ptr %b8
  %address = add i64 %run, %out
  %b16 = getelementptr i8, ptr %b, i64 16
  store i64 %address, ptr %b16
  %c1 = add i64 %c, 1
  store i64 %c1, ptr %count.p
  store i64 %address, ptr %e0
  br label %next
}}"""


def _push() -> str:
    return f"""
; Puts the address %to bytes from a page's start on the queue.
define internal void @push(ptr %d, ptr %tail, i64 %page, i64 %to) nounwind {{
{_get("queue", "ptr")}
{_get("addresses")}
  %t = load i64, ptr %tail
  %room = icmp ult i64 %t, {QUEUE}
  br i1 %room, label %put, label %out
put:
  %sum = add i64 %page, %to
  %ea = and i64 %sum, %addresses
  %p = getelementptr i64, ptr %queue, i64 %t
  store i64 %ea, ptr %p
  %t1 = add i64 %t, 1
  store i64 %t1, ptr %tail
  br label %out
out:
  ret void
}}"""


def _find() -> str:
    return f"""
; The slot of a handler, null where it has no stencil.
define internal ptr @find(ptr %d, i64 %handler) nounwind {{
entry:
{_get("slots", "ptr")}
{_get("shift")}
{_get("mask")}
  %spread = mul i64 %handler, {SPREAD - (1 << 64)}
  %n0 = lshr i64 %spread, %shift
  br label %look
look:
  %n = phi i64 [ %n0, %entry ], [ %n2, %more ]
  %at = mul i64 %n, {SLOT.size}
  %slot = getelementptr i8, ptr %slots, i64 %at
  %key = load i64, ptr %slot
  %end = icmp eq i64 %key, 0
  br i1 %end, label %none, label %other
other:
  %is = icmp eq i64 %key, %handler
  br i1 %is, label %found, label %more
more:
  %n1 = add i64 %n, 1
  %n2 = and i64 %n1, %mask
  br label %look
found:
  ret ptr %slot
none:
  ret ptr null
}}"""


def _is_paused() -> str:
    return f"""
; Whether a line of code changed too short a time ago (`regions.pauses`).
define internal i1 @is_paused(ptr %d, i64 %line) nounwind {{
{_get("pauses", "ptr")}
{_get("pause_mask")}
{_get("now")}
  %n = and i64 %line, %pause_mask
  %at = mul i64 %n, {PAUSE.size}
  %slot = getelementptr i8, ptr %pauses, i64 %at
  %whose = load i64, ptr %slot
  %until.p = getelementptr i8, ptr %slot, i64 8
  %until = load i64, ptr %until.p
  %mine = icmp eq i64 %whose, %line
  %lasts = icmp sgt i64 %until, %now
  %r = and i1 %mine, %lasts
  ret i1 %r
}}"""


def _place() -> str:
    return f"""
; Copies a stencil to %pos bytes of the arena, filled for a word at a place of its page.
define internal void @place(
    ptr %d, ptr %row, i64 %unit, i64 %pos, i32 %word, i32 %place) nounwind {{
entry:
{_get("write", "ptr")}
{_get("run")}
{_get("units", "ptr")}
  %unit.at = mul i64 %unit, {UNIT.size}
  %u = getelementptr i8, ptr %units, i64 %unit.at
  %code = load ptr, ptr %u
{_at("marks", "%u", "8", "ptr")}
{_at("values", "%u", "16", "ptr")}
{_at("leads", "%u", "24", "ptr")}
  %from32 = load i32, ptr %row
{_at("bytes32", "%row", "4", "i32")}
{_at("first32", "%row", "8", "i32")}
{_at("count32", "%row", "12", "i32")}
  %from = zext i32 %from32 to i64
  %bytes = zext i32 %bytes32 to i64
  %first = zext i32 %first32 to i64
  %count = zext i32 %count32 to i64
  %src = getelementptr i8, ptr %code, i64 %from
  %dst = getelementptr i8, ptr %write, i64 %pos
  br label %chunk
chunk:
  %j = phi i64 [ 0, %entry ], [ %j1, %chunk ]
  %s = getelementptr i8, ptr %src, i64 %j
  %t = getelementptr i8, ptr %dst, i64 %j
  %v = load <2 x i64>, ptr %s, align 1
  store <2 x i64> %v, ptr %t, align 1
  %j1 = add i64 %j, {CHUNK}
  %more = icmp ult i64 %j1, %bytes
  br i1 %more, label %chunk, label %copied
copied:
  %here = add i64 %run, %pos
  %m0 = mul i64 %first, {MARK.size}
  %mark0 = getelementptr i8, ptr %marks, i64 %m0
  br label %each
each:
  %k = phi i64 [ 0, %copied ], [ %k1, %filled ]
  %any = icmp ult i64 %k, %count
  br i1 %any, label %one, label %out
one:
  %mk = mul i64 %k, {MARK.size}
  %mark = getelementptr i8, ptr %mark0, i64 %mk
  %k1 = add i64 %k, 1
  %off32 = load i32, ptr %mark
{_at("fill", "%mark", "4", "i32")}
{_at("what32", "%mark", "8", "i32")}
{_at("addend32", "%mark", "12", "i32")}
  %off = zext i32 %off32 to i64
  %what = zext i32 %what32 to i64
  %addend = sext i32 %addend32 to i64
  %where = getelementptr i8, ptr %dst, i64 %off
  %leads.on = icmp uge i32 %fill, {int(Fill.RELATIVE)}
  br i1 %leads.on, label %lead, label %hole
hole:
  %fp = getelementptr ptr, ptr %values, i64 %what
  %f = load ptr, ptr %fp
  %plain = call i64 %f(i32 %word, i32 %place)
  %value = add i64 %plain, %addend
  call void @filled(ptr %where, i32 %fill, i64 %value)
  br label %filled
lead:
  %lp = getelementptr i64, ptr %leads, i64 %what
  %to0 = load i64, ptr %lp
  %to = add i64 %to0, %addend
  %at = add i64 %here, %off
  call void @led(ptr %where, i32 %fill, i64 %to, i64 %at)
  br label %filled
filled:
  br label %each
out:
  ret void
}}"""


def _filled() -> str:
    """A value above 65,535 has two halves on AArch64; a hole is never wider than 32 bits."""
    return f"""
define internal void @filled(ptr %p, i32 %fill, i64 %value) nounwind {{
entry:
  %v32 = trunc i64 %value to i32
  switch i32 %fill, label %bytes [
    i32 {int(Fill.BYTE)}, label %byte
    i32 {int(Fill.HIGH_HALF)}, label %high
    i32 {int(Fill.LOW_HALF)}, label %low ]
bytes:
  store i32 %v32, ptr %p, align 1
  ret void
byte:
  %v8 = trunc i64 %value to i8
  store i8 %v8, ptr %p
  ret void
high:
  %old.h = load i32, ptr %p, align 1
  %r.h = and i32 %old.h, 31
  %up = ashr i64 %value, 16
  %up32 = trunc i64 %up to i32
  %not = xor i32 %up32, -1
  %neg = icmp slt i64 %up, 0
  %imm.h = select i1 %neg, i32 %not, i32 %up32
  %op.h = select i1 %neg, i32 {signed(_MOVN | _SHIFTED, 32)}, i32 {signed(_MOVZ | _SHIFTED, 32)}
  %imm.up = shl i32 %imm.h, 5
  %h1 = or i32 %op.h, %imm.up
  %h2 = or i32 %h1, %r.h
  %nothing = icmp eq i64 %up, 0
  %h3 = select i1 %nothing, i32 {signed(_NOP, 32)}, i32 %h2
  store i32 %h3, ptr %p, align 1
  ret void
low:
  %old.l = load i32, ptr %p, align 1
  %r.l = and i32 %old.l, 31
  %rest = ashr i64 %value, 16
  %alone = icmp eq i64 %rest, 0
  %op.l = select i1 %alone, i32 {signed(_MOVZ, 32)}, i32 {signed(_MOVK, 32)}
  %half = and i32 %v32, 65535
  %imm.l = shl i32 %half, 5
  %l1 = or i32 %op.l, %imm.l
  %l2 = or i32 %l1, %r.l
  store i32 %l2, ptr %p, align 1
  ret void
}}"""


def _led() -> str:
    """The same as the loader's relocations (`elf.KINDS`)."""
    return f"""
define internal void @led(ptr %p, i32 %fill, i64 %to, i64 %here) nounwind {{
entry:
  %old = load i32, ptr %p, align 1
  %far = sub i64 %to, %here
  %far32 = trunc i64 %far to i32
  switch i32 %fill, label %low [
    i32 {int(Fill.RELATIVE)}, label %relative
    i32 {int(Fill.BRANCH)}, label %branch
    i32 {int(Fill.PAGE)}, label %page ]
relative:
  store i32 %far32, ptr %p, align 1
  ret void
branch:
  %b1 = ashr i64 %far, 2
  %b2 = trunc i64 %b1 to i32
  %b3 = and i32 %b2, {0x03FF_FFFF}
  %b4 = and i32 %old, {signed(~0x03FF_FFFF, 32)}
  %b5 = or i32 %b3, %b4
  store i32 %b5, ptr %p, align 1
  ret void
page:
  %p1 = ashr i64 %to, 12
  %p2 = ashr i64 %here, 12
  %p3 = sub i64 %p1, %p2
  %p4 = trunc i64 %p3 to i32
  %p5 = and i32 %p4, 3
  %p6 = shl i32 %p5, 29
  %p7 = ashr i32 %p4, 2
  %p8 = and i32 %p7, {0x7FFFF}
  %p9 = shl i32 %p8, 5
  %p10 = and i32 %old, {signed(~0x60FF_FFE0, 32)}
  %p11 = or i32 %p6, %p9
  %p12 = or i32 %p10, %p11
  store i32 %p12, ptr %p, align 1
  ret void
low:
  %shift = sub i32 %fill, {int(Fill.LOW_12)}
  %to32 = trunc i64 %to to i32
  %l1 = and i32 %to32, 4095
  %l2 = lshr i32 %l1, %shift
  %l3 = shl i32 %l2, 10
  %l4 = and i32 %old, {signed(~0x003F_FC00, 32)}
  %l5 = or i32 %l3, %l4
  store i32 %l5, ptr %p, align 1
  ret void
}}"""
