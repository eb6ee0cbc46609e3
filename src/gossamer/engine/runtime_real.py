"""Real memory from native code: places in the arena, and accesses to RAM or a chip."""

from __future__ import annotations

from typing import Final

from gossamer.core.memory import REAL_BITS
from gossamer.engine.context import EFFECT_CODES, ENTRY_STRIDE
from gossamer.engine.emit import TB_MEM, TB_TLB
from gossamer.engine.runtime_fields import Text

#: Beyond `AddressMap.pages` no RAM is.
_PLACE: Final = f"""  %in = icmp ult i64 %x, {1 << REAL_BITS - 12}
  %y = select i1 %in, i64 %x, i64 0"""
_FOUND: Final = f"""  %v = load i32, ptr %p{TB_TLB}
  %n = select i1 %in, i32 %v, i32 0
  %r = sub i32 %n, 1"""


def leaves(w: Text) -> str:
    """Where an instruction is, and what time; where real addresses are."""
    field, ea, ra = w.field, w.ea, w.ra
    if ra == "i32":
        place, found = "  %y = zext i32 %x to i64", f"  %n = load i32, ptr %p{TB_TLB}"
        found += "\n  %r = sub i32 %n, 1"
    else:
        place, found = _PLACE, _FOUND
    return f"""
@zeros = internal constant [64 x i8] zeroinitializer, align 64
; Effective address of the instruction of entry %e: `fpage` and the entry's place in its page.
define internal {ea} @cia_of(ptr %cpu, ptr %e) nounwind alwaysinline {{
{field("fpage", "page", ea)}
  %x = ptrtoint ptr %e to i64
{w.cut("y", "x")}
  %z = and {ea} %y, {ENTRY_STRIDE - 1}
  %o = lshr {ea} %z, 2
  %r = add {ea} %page, %o
  ret {ea} %r
}}
; Virtual ns at the instruction of entry %e; reads the time base of this run (`base_ns` ...).
define internal i64 @now_of(ptr %cpu, ptr %e, i64 %K) nounwind alwaysinline {{
{field("end_count", "end", "i64")}
{field("base_count", "count", "i64")}
{field("base_ns", "ns", "i64")}
{field("rate", "rate", "i64")}
  %x = ptrtoint ptr %e to i64
  %left = sub i64 %K, %x
  %n = ashr i64 %left, 4
  %here = sub i64 %end, %n
  %d = sub i64 %here, %count
  %m = mul i64 %d, %rate
  %s = lshr i64 %m, 20
  %r = add i64 %ns, %s
  ret i64 %r
}}
; Arena page of real %ra, its top bit set where it is read-only; -1: no RAM.  All native code that
; reaches RAM has it from here, or from a TLB line made with it: so this is where a page is waited
; for that a postcopy sender still has.
define internal i32 @page_of(ptr %cpu, {ra} %ra) nounwind alwaysinline {{
entry:
{field("pages", "pages", "ptr")}
  %x = lshr {ra} %ra, 12
{place}
  %p = getelementptr i32, ptr %pages, i64 %y
{found}
  %none = icmp eq i32 %r, -1
  br i1 %none, label %out, label %look
look:
{field("absent", "absent", "ptr")}
  %i = and i32 %r, 2147483647
  %j = zext i32 %i to i64
  %q = getelementptr i8, ptr %absent, i64 %j
  %away = load atomic i8, ptr %q acquire, align 1
  %here = icmp eq i8 %away, 0
  br i1 %here, label %out, label %wait
wait:
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["absent"]}, i32 %i)
  br label %out
out:
  ret i32 %r
}}
; Host address of real %ra in arena page %page (the top bit counts for nothing).
define internal ptr @host_of(ptr %cpu, i32 %page, {ra} %ra) nounwind alwaysinline {{
{field("arena", "arena", "ptr")}
  %i = and i32 %page, 2147483647
  %j = zext i32 %i to i64
  %k = shl i64 %j, 12
  %l = and {ra} %ra, 4095
{w.wide("m", "l")}
  %o = or i64 %k, %m
  %r = getelementptr i8, ptr %arena, i64 %o
  ret ptr %r
}}
; Host address of real %ra, or of zeros where no RAM is; good up to the end of 64 bytes.
define internal ptr @ram_pointer(ptr %cpu, {ra} %ra) nounwind alwaysinline {{
  %page = call i32 @page_of(ptr %cpu, {ra} %ra)
  %host = call ptr @host_of(ptr %cpu, i32 %page, {ra} %ra)
  %none = icmp eq i32 %page, -1
  %r = select i1 %none, ptr @zeros, ptr %host
  ret ptr %r
}}
; Stores a word to RAM when %when holds, marking the page; nothing where no writable RAM is.
define internal void @ram_store_word(ptr %cpu, {ra} %ra, i32 %value, i1 %when) nounwind {{
  br i1 %when, label %go, label %out
go:
  %page = call i32 @page_of(ptr %cpu, {ra} %ra)
  %good = icmp sgt i32 %page, -1
  br i1 %good, label %do, label %out
do:
  %host = call ptr @host_of(ptr %cpu, i32 %page, {ra} %ra)
  %raw = call i32 @llvm.bswap.i32(i32 %value)
  store i32 %raw, ptr %host, align 4{TB_MEM}
  call void @page_written(ptr %cpu, i32 %page, {ra} %ra, i32 4)
  br label %out
out:
  ret void
}}
; Arena page %page was written at %ra: marks it dirty, forgets decoded code.
define internal void @page_written(ptr %cpu, i32 %page, {ra} %ra, i32 %size) nounwind {{
{field("dirty", "dirty", "ptr")}
{field("code", "code", "ptr")}
  %i = zext i32 %page to i64
  %d = getelementptr i8, ptr %dirty, i64 %i
  store i8 -1, ptr %d{TB_TLB}
  %c = getelementptr i8, ptr %code, i64 %i
  %has = load i8, ptr %c{TB_TLB}
  %is = icmp ne i8 %has, 0
  br i1 %is, label %touch, label %out
touch:
  %base = shl i64 %i, 12
  %low = and {ra} %ra, 4095
{w.wide("lw", "low")}
  %off = or i64 %base, %lw
  %len = zext i32 %size to i64
  call void @code_written(ptr %cpu, i64 %off, i64 %len)
  br label %out
out:
  ret void
}}
"""


def bus(w: Text) -> str:
    ra = w.ra
    return f"""
; %size bytes (1, 2, 4, 8) at a place in the arena, as a big-endian number.
define internal i64 @host_load(ptr %host, i32 %size) nounwind {{
  switch i32 %size, label %r8 [ i32 1, label %r1
    i32 2, label %r2
    i32 4, label %r4 ]
r1:
  %v1 = load i8, ptr %host{TB_MEM}
  %z1 = zext i8 %v1 to i64
  ret i64 %z1
r2:
  %v2 = load i16, ptr %host, align 1{TB_MEM}
  %s2 = call i16 @llvm.bswap.i16(i16 %v2)
  %z2 = zext i16 %s2 to i64
  ret i64 %z2
r4:
  %v4 = load i32, ptr %host, align 1{TB_MEM}
  %s4 = call i32 @llvm.bswap.i32(i32 %v4)
  %z4 = zext i32 %s4 to i64
  ret i64 %z4
r8:
  %v8 = load i64, ptr %host, align 1{TB_MEM}
  %s8 = call i64 @llvm.bswap.i64(i64 %v8)
  ret i64 %s8
}}
; The same, stored.
define internal void @host_store(ptr %host, i64 %value, i32 %size) nounwind {{
  switch i32 %size, label %w8 [ i32 1, label %w1
    i32 2, label %w2
    i32 4, label %w4 ]
w1:
  %v1 = trunc i64 %value to i8
  store i8 %v1, ptr %host{TB_MEM}
  ret void
w2:
  %v2 = trunc i64 %value to i16
  %s2 = call i16 @llvm.bswap.i16(i16 %v2)
  store i16 %s2, ptr %host, align 1{TB_MEM}
  ret void
w4:
  %v4 = trunc i64 %value to i32
  %s4 = call i32 @llvm.bswap.i32(i32 %v4)
  store i32 %s4, ptr %host, align 1{TB_MEM}
  ret void
w8:
  %s8 = call i64 @llvm.bswap.i64(i64 %value)
  store i64 %s8, ptr %host, align 1{TB_MEM}
  ret void
}}
; A load of %size bytes from real %ra: RAM or a chip.
define internal i64 @bus_load(ptr %cpu, {ra} %ra, i32 %size) nounwind {{
  %page = call i32 @page_of(ptr %cpu, {ra} %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %mmio, label %ram
mmio:
  %m = call i64 @device_load(ptr %cpu, {ra} %ra, i32 %size)
  ret i64 %m
ram:
  %host = call ptr @host_of(ptr %cpu, i32 %page, {ra} %ra)
  %r = call i64 @host_load(ptr %host, i32 %size)
  ret i64 %r
}}
; A store to real %ra: RAM (marking the page), a chip, or nothing in ROM.
define internal void @bus_store(ptr %cpu, {ra} %ra, i64 %value, i32 %size) nounwind {{
  %page = call i32 @page_of(ptr %cpu, {ra} %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %mmio, label %ram
mmio:
  call void @device_store(ptr %cpu, {ra} %ra, i64 %value, i32 %size)
  ret void
ram:
  %rom = icmp slt i32 %page, 0
  br i1 %rom, label %out, label %do
do:
  %host = call ptr @host_of(ptr %cpu, i32 %page, {ra} %ra)
  call void @host_store(ptr %host, i64 %value, i32 %size)
  call void @page_written(ptr %cpu, i32 %page, {ra} %ra, i32 %size)
  br label %out
out:
  ret void
}}"""
