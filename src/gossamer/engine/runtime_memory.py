"""Real memory from native code: pages, the bus, and the slow paths of loads and stores.

A slow path translates every byte first, then accesses, so that a fault leaves nothing half done.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import WIMG_I, WIMG_W
from gossamer.engine.context import BESIDE, DTLB_ENTRIES, DTLB_FLAGS, ENTRY_STRIDE, NO_TAG
from gossamer.engine.emit import TB_MEM, TB_TLB
from gossamer.engine.runtime_fields import field, store
from gossamer.isa.body import Access, Interrupt

LEAVES: Final = f"""
@zeros = internal constant [64 x i8] zeroinitializer, align 64
; Effective address of the instruction of entry %e: `fpage` and the entry's place in its page.
define internal i32 @cia_of(ptr %cpu, ptr %e) nounwind alwaysinline {{
{field("fpage", "page", "i32")}
  %x = ptrtoint ptr %e to i64
  %y = trunc i64 %x to i32
  %z = and i32 %y, {ENTRY_STRIDE - 1}
  %o = lshr i32 %z, 2
  %r = add i32 %page, %o
  ret i32 %r
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
; Arena page of real %ra, its top bit set where it is read-only; -1: no RAM.
define internal i32 @page_of(ptr %cpu, i32 %ra) nounwind alwaysinline {{
{field("pages", "pages", "ptr")}
  %x = lshr i32 %ra, 12
  %y = zext i32 %x to i64
  %p = getelementptr i32, ptr %pages, i64 %y
  %r = load i32, ptr %p{TB_TLB}
  ret i32 %r
}}
; Host address of real %ra in arena page %page (the top bit counts for nothing).
define internal ptr @host_of(ptr %cpu, i32 %page, i32 %ra) nounwind alwaysinline {{
{field("arena", "arena", "ptr")}
  %i = and i32 %page, 2147483647
  %j = zext i32 %i to i64
  %k = shl i64 %j, 12
  %l = and i32 %ra, 4095
  %m = zext i32 %l to i64
  %o = or i64 %k, %m
  %r = getelementptr i8, ptr %arena, i64 %o
  ret ptr %r
}}
; Host address of real %ra, or of zeros where no RAM is; good up to the end of 64 bytes.
define internal ptr @ram_pointer(ptr %cpu, i32 %ra) nounwind alwaysinline {{
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  %none = icmp eq i32 %page, -1
  %r = select i1 %none, ptr @zeros, ptr %host
  ret ptr %r
}}
; Stores a word to RAM when %when holds, marking the page; nothing where no writable RAM is.
define internal void @ram_store_word(ptr %cpu, i32 %ra, i32 %value, i1 %when) nounwind {{
  br i1 %when, label %go, label %out
go:
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %good = icmp sgt i32 %page, -1
  br i1 %good, label %do, label %out
do:
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  %raw = call i32 @llvm.bswap.i32(i32 %value)
  store i32 %raw, ptr %host, align 4{TB_MEM}
  call void @page_written(ptr %cpu, i32 %page, i32 %ra, i32 4)
  br label %out
out:
  ret void
}}
; Arena page %page was written at %ra: marks it dirty, forgets decoded code.
define internal void @page_written(ptr %cpu, i32 %page, i32 %ra, i32 %size) nounwind {{
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
  %low = and i32 %ra, 4095
  %lw = zext i32 %low to i64
  %off = or i64 %base, %lw
  %len = zext i32 %size to i64
  call void @code_written(ptr %cpu, i64 %off, i64 %len)
  br label %out
out:
  ret void
}}
"""

MEMORY: Final = f"""
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
define internal i64 @bus_load(ptr %cpu, i32 %ra, i32 %size) nounwind {{
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %mmio, label %ram
mmio:
  %m = call i64 @device_load(ptr %cpu, i32 %ra, i32 %size)
  ret i64 %m
ram:
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  %r = call i64 @host_load(ptr %host, i32 %size)
  ret i64 %r
}}
; A store to real %ra: RAM (marking the page), a chip, or nothing in ROM.
define internal void @bus_store(ptr %cpu, i32 %ra, i64 %value, i32 %size) nounwind {{
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %mmio, label %ram
mmio:
  call void @device_store(ptr %cpu, i32 %ra, i64 %value, i32 %size)
  ret void
ram:
  %rom = icmp slt i32 %page, 0
  br i1 %rom, label %out, label %do
do:
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  call void @host_store(ptr %host, i64 %value, i32 %size)
  call void @page_written(ptr %cpu, i32 %page, i32 %ra, i32 %size)
  br label %out
out:
  ret void
}}
; The host's address of the %size bytes at %ea if the data TLB knows it, else null; %tag is 0 for
; loads, 4 for stores.
define internal ptr @data_known(ptr %cpu, i32 %ea, i32 %size, i64 %tag) nounwind {{
{field("dtlb", "dtlb", "ptr")}
  %a = lshr i32 %ea, 8
  %b = and i32 %a, {(DTLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %dtlb, i64 %c
  %tp = getelementptr i8, ptr %line, i64 %tag
  %t = load i32, ptr %tp{TB_TLB}
  %s1 = sub i32 %size, 1
  %last = add i32 %ea, %s1
  %page = and i32 %last, -4096
  %hit = icmp eq i32 %page, %t
  %ap = getelementptr i8, ptr %line, i64 8
  %addend = load ptr, ptr %ap{TB_TLB}
  %wide = zext i32 %ea to i64
  %host = getelementptr i8, ptr %addend, i64 %wide
  %r = select i1 %hit, ptr %host, ptr null
  ret ptr %r
}}
; Puts the page of %ea, which %x translates (see `translation_functions`), into the data TLB.
; Nothing is put where no RAM is, with `bypass`, and for a page with a watchpoint.  The write tag is
; set only where C is set and the page is dirty for all who ask; with code in it, with `BESIDE`.
define internal void @fill(ptr %cpu, i32 %ea, i64 %x) nounwind {{
{field("bypass", "bypass", "i32")}
  %ra = trunc i64 %x to i32
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  %by = icmp ne i32 %bypass, 0
  %seen = call i1 @watches_page(ptr %cpu, i32 %ea)
  %slow = or i1 %by, %seen
  %skip = or i1 %none, %slow
  br i1 %skip, label %out, label %do
do:
{field("dtlb", "dtlb", "ptr")}
{field("dused", "dused", "ptr")}
{field("code", "code", "ptr")}
{field("dirty", "dirty", "ptr")}
  %eapage = and i32 %ea, -4096
  %a = lshr i32 %ea, 8
  %b = and i32 %a, {(DTLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %dtlb, i64 %c
  %rapage = and i32 %ra, -4096
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %rapage)
  %ez = zext i32 %eapage to i64
  %neg = sub i64 0, %ez
  %addend = getelementptr i8, ptr %host, i64 %neg
  %i = and i32 %page, 2147483647
  %j = zext i32 %i to i64
  %cp = getelementptr i8, ptr %code, i64 %j
  %cv = load i8, ptr %cp{TB_TLB}
  %nocode = icmp eq i8 %cv, 0
  %dp = getelementptr i8, ptr %dirty, i64 %j
  %dv = load i8, ptr %dp{TB_TLB}
  %isdirty = icmp eq i8 %dv, -1
  %ram = icmp sgt i32 %page, -1
  %wbit = and i64 %x, {16 << 32}
  %may = icmp ne i64 %wbit, 0
  %beside = or i32 %eapage, {BESIDE}
  %writable = select i1 %nocode, i32 %eapage, i32 %beside
  %w1 = and i1 %isdirty, %ram
  %w = and i1 %w1, %may
  %tagw = select i1 %w, i32 %writable, i32 {NO_TAG}
  call void @use_line(ptr %dused, i64 %c)
  %n = lshr i64 %c, 4
  %flags = getelementptr i8, ptr %dtlb, i64 {DTLB_FLAGS}
  %fp = getelementptr i8, ptr %flags, i64 %n
  %wi = and i64 %x, {(WIMG_W | WIMG_I) << 32}
  %wi_set = icmp ne i64 %wi, 0
  %flag = zext i1 %wi_set to i8
  store i8 %flag, ptr %fp{TB_TLB}
  br i1 %w, label %note, label %put
note:
  call void @note_write_line(ptr %cpu, i64 %j, i64 %n)
  br label %put
put:
  store i32 %eapage, ptr %line{TB_TLB}
  %tp = getelementptr i8, ptr %line, i64 4
  store i32 %tagw, ptr %tp{TB_TLB}
  %ap = getelementptr i8, ptr %line, i64 8
  store ptr %addend, ptr %ap{TB_TLB}
  br label %out
out:
  ret void
}}
"""


#: A store to a page with code that the TLB knows.
_BESIDE: Final = """other:
  %place = call ptr @beside(ptr %cpu, i32 %ea, i32 %size)
  %near = icmp ne ptr %place, null
  br i1 %near, label %by, label %walk
by:
  call void @host_store(ptr %place, i64 %value, i32 %size)
  call void @stored_beside(ptr %cpu, i32 %ea, ptr %place, i32 %size)
  ret void
"""


def _slow(kind: str) -> str:
    """The head that `slow_load` and `slow_store` share: translate one or two pages."""
    give = "ret i64 0" if kind == "read" else "ret void"
    if kind == "read":
        found = "  %r0 = call i64 @host_load(ptr %known, i32 %size)\n  ret i64 %r0"
        look, beside = "br i1 %changed, label %look, label %walk", ""
    else:
        found = "  call void @host_store(ptr %known, i64 %value, i32 %size)\n  ret void"
        look, beside = "br label %look", _BESIDE
    return f"""
entry:
{store("x_fault", "i32", "0")}
  %changed = call i1 @resolve(ptr %cpu)
  {look}
look:
  %known = call ptr @data_known(ptr %cpu, i32 %ea, i32 %size, i64 {0 if kind == "read" else 4})
  %have = icmp ne ptr %known, null
  br i1 %have, label %found, label %{"other" if beside else "walk"}
found:
{found}
{beside}walk:
  %x = call i64 @xlate_{kind}(ptr %cpu, i32 %ea)
  %h0 = lshr i64 %x, 32
  %h1 = trunc i64 %h0 to i32
  %f = and i32 %h1, -32
  %bad = icmp ne i32 %f, 0
  br i1 %bad, label %fault1, label %ok1
fault1:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %f)
  {give}
ok1:
  %wb = call i32 @watch_{kind}(ptr %cpu, i32 %ea, i32 %size)
  %watched = icmp ne i32 %wb, 0
  br i1 %watched, label %stop, label %ok2
stop:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %wb)
  {give}
ok2:
  %ra = trunc i64 %x to i32
  %s1 = sub i32 %size, 1
  %last = add i32 %ea, %s1
  %diff = xor i32 %last, %ea
  %dpage = and i32 %diff, -4096
  %cross = icmp ne i32 %dpage, 0
  br i1 %cross, label %second, label %one
second:
  %ea2 = and i32 %last, -4096
  %x2 = call i64 @xlate_{kind}(ptr %cpu, i32 %ea2)
  %g0 = lshr i64 %x2, 32
  %g1 = trunc i64 %g0 to i32
  %g = and i32 %g1, -32
  %bad2 = icmp ne i32 %g, 0
  br i1 %bad2, label %fault2, label %two
fault2:
  call void @data_fault(ptr %cpu, i32 %ea2, i32 %g)
  {give}
two:
  %ra2 = trunc i64 %x2 to i32
  br label %loop
loop:
  %n = phi i32 [ 0, %two ], [ %n1, %loop ]"""


SLOW: Final = f"""
; Leaves what `h_data_fault` makes an interrupt of; callers return at once.
define internal void @data_fault(ptr %cpu, i32 %ea, i32 %fault) nounwind {{
{store("x_fault", "i32", "%fault")}
{store("x_dar", "i32", "%ea")}
{store("x_vector", "i32", str(int(Interrupt.DSI)))}
  ret void
}}
; A load that the TLB did not answer: translates all, then reads, then fills the TLB.  The value, or
; 0 with `x_fault` set.  Two pages are read byte by byte.
define internal i64 @slow_load(ptr %cpu, i32 %ea, i32 %size) nounwind noinline {{{_slow("read")}
  %v = phi i64 [ 0, %two ], [ %v2, %loop ]
  %ean = add i32 %ea, %n
  %pagen = and i32 %ean, -4096
  %in2 = icmp eq i32 %pagen, %ea2
  %low = and i32 %ean, 4095
  %r2 = add i32 %ra2, %low
  %r1 = add i32 %ra, %n
  %r = select i1 %in2, i32 %r2, i32 %r1
  %byte = call i64 @bus_load(ptr %cpu, i32 %r, i32 1)
  %vs = shl i64 %v, 8
  %v2 = or i64 %vs, %byte
  %n1 = add i32 %n, 1
  %again = icmp ult i32 %n1, %size
  br i1 %again, label %loop, label %done
done:
  call void @note_access(ptr %cpu, i32 %ea, i32 %size, i32 1)
  ret i64 %v2
one:
  call void @fill(ptr %cpu, i32 %ea, i64 %x)
  %w = call i64 @bus_load(ptr %cpu, i32 %ra, i32 %size)
  call void @note_access(ptr %cpu, i32 %ea, i32 %size, i32 1)
  ret i64 %w
}}
; The same for a store; nothing is written when any of it faults.
define internal void @slow_store(ptr %cpu, i32 %ea, i64 %value, i32 %size)
    nounwind noinline {{{_slow("write")}
  %ean = add i32 %ea, %n
  %pagen = and i32 %ean, -4096
  %in2 = icmp eq i32 %pagen, %ea2
  %low = and i32 %ean, 4095
  %r2 = add i32 %ra2, %low
  %r1 = add i32 %ra, %n
  %r = select i1 %in2, i32 %r2, i32 %r1
  %up = sub i32 %size, %n
  %up1 = sub i32 %up, 1
  %sh = shl i32 %up1, 3
  %shw = zext i32 %sh to i64
  %byte = lshr i64 %value, %shw
  %b = and i64 %byte, 255
  call void @bus_store(ptr %cpu, i32 %r, i64 %b, i32 1)
  %n1 = add i32 %n, 1
  %again = icmp ult i32 %n1, %size
  br i1 %again, label %loop, label %done
done:
  call void @note_access(ptr %cpu, i32 %ea, i32 %size, i32 2)
  ret void
one:
  call void @bus_store(ptr %cpu, i32 %ra, i64 %value, i32 %size)
  call void @fill(ptr %cpu, i32 %ea, i64 %x)
  call void @note_access(ptr %cpu, i32 %ea, i32 %size, i32 2)
  ret void
}}
; What an access of %len bytes would fault with, in `x_fault`; R and C are set as it would.
define internal void @probe(ptr %cpu, i32 %ea, i32 %len, i32 %access) nounwind noinline {{
entry:
  call i1 @resolve(ptr %cpu)
{store("x_fault", "i32", "0")}
  %some = icmp ne i32 %len, 0
  br i1 %some, label %start, label %out
start:
  %l1 = sub i32 %len, 1
  %end = add i32 %ea, %l1
  %iswrite = icmp eq i32 %access, {int(Access.WRITE)}
  %place = call ptr @beside(ptr %cpu, i32 %ea, i32 %len)
  %near = icmp ne ptr %place, null
  %known = and i1 %near, %iswrite
  br i1 %known, label %out, label %search
search:
  %sw = call i32 @watch_write(ptr %cpu, i32 %ea, i32 %len)
  %sr = call i32 @watch_read(ptr %cpu, i32 %ea, i32 %len)
  %wb = select i1 %iswrite, i32 %sw, i32 %sr
  %watched = icmp ne i32 %wb, 0
  br label %loop
loop:
  %at = phi i32 [ %ea, %search ], [ %next, %more ]
  br i1 %iswrite, label %w, label %r
w:
  %xw = call i64 @xlate_write(ptr %cpu, i32 %at)
  br label %join
r:
  %xr = call i64 @xlate_read(ptr %cpu, i32 %at)
  br label %join
join:
  %x = phi i64 [ %xw, %w ], [ %xr, %r ]
  %h0 = lshr i64 %x, 32
  %h1 = trunc i64 %h0 to i32
  %f = and i32 %h1, -32
  %bad = icmp ne i32 %f, 0
  br i1 %bad, label %fault, label %ok
fault:
  call void @data_fault(ptr %cpu, i32 %at, i32 %f)
  ret void
ok:
  br i1 %watched, label %stop, label %on
stop:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %wb)
  ret void
on:
  %pa = and i32 %at, -4096
  %pe = and i32 %end, -4096
  %done = icmp eq i32 %pa, %pe
  br i1 %done, label %out, label %more
more:
  %next = add i32 %pa, 4096
  br label %loop
out:
  ret void
}}
; Whether the data TLB's line of %ea is of a copy-back cached page.
define internal i1 @may_clear(ptr %cpu, i32 %ea) nounwind alwaysinline {{
{field("dtlb", "dtlb", "ptr")}
  %a = lshr i32 %ea, 12
  %b = and i32 %a, {DTLB_ENTRIES - 1}
  %n = zext i32 %b to i64
  %flags = getelementptr i8, ptr %dtlb, i64 {DTLB_FLAGS}
  %p = getelementptr i8, ptr %flags, i64 %n
  %flag = load i8, ptr %p{TB_TLB}
  %r = icmp eq i8 %flag, 0
  ret i1 %r
}}
; dcbz: clears 32 bytes; an alignment interrupt (DSISR %dsisr) where W or I is set.
define internal void @zero_line(ptr %cpu, i32 %ea, i32 %dsisr) nounwind noinline {{
entry:
  call i1 @resolve(ptr %cpu)
{store("x_fault", "i32", "0")}
  %place = call ptr @beside(ptr %cpu, i32 %ea, i32 32)
  %near = icmp ne ptr %place, null
  %cached = call i1 @may_clear(ptr %cpu, i32 %ea)
  %known = and i1 %near, %cached
  br i1 %known, label %by, label %walk
by:
  store <4 x i64> zeroinitializer, ptr %place, align 1{TB_MEM}
  call void @stored_beside(ptr %cpu, i32 %ea, ptr %place, i32 32)
  ret void
walk:
  %x = call i64 @xlate_write(ptr %cpu, i32 %ea)
  %h0 = lshr i64 %x, 32
  %h1 = trunc i64 %h0 to i32
  %f = and i32 %h1, -32
  %bad = icmp ne i32 %f, 0
  br i1 %bad, label %fault, label %ok
fault:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %f)
  ret void
ok:
  %wi = and i32 %h1, {WIMG_W | WIMG_I}
  %uncached = icmp ne i32 %wi, 0
  br i1 %uncached, label %align, label %go
align:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %dsisr)
{store("x_vector", "i32", str(int(Interrupt.ALIGNMENT)))}
  ret void
go:
  %wb = call i32 @watch_write(ptr %cpu, i32 %ea, i32 32)
  %watched = icmp ne i32 %wb, 0
  br i1 %watched, label %stop, label %clear
stop:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %wb)
  ret void
clear:
  %ra = trunc i64 %x to i32
  br label %loop
loop:
  %n = phi i32 [ 0, %clear ], [ %n1, %loop ]
  %r = add i32 %ra, %n
  call void @bus_store(ptr %cpu, i32 %r, i64 0, i32 8)
  %n1 = add i32 %n, 8
  %again = icmp ult i32 %n1, 32
  br i1 %again, label %loop, label %done
done:
  call void @fill(ptr %cpu, i32 %ea, i64 %x)
  call void @note_access(ptr %cpu, i32 %ea, i32 32, i32 2)
  ret void
}}
"""
