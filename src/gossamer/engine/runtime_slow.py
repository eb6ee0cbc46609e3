"""The slow paths of loads and stores, which what the TLB does not know takes.

A slow path translates every byte first, then accesses, so that a fault leaves nothing half done.
"""

from __future__ import annotations

from gossamer.cpu.translation import FAULT_BITS, WIMG_I, WIMG_W
from gossamer.engine.context import DTLB_ENTRIES
from gossamer.engine.emit import TB_MEM, TB_TLB
from gossamer.engine.runtime_fields import Text
from gossamer.isa.interrupts import Access, Interrupt


def _ordered(x: str, result: str, value: str) -> str:
    """A line for models with two orders, where the page's own does not count."""
    return f"  %{result} = call i64 @in_order(ptr %cpu, {x} 0, i64 %{value}, i32 %size)"


#: A store to a page with code that the TLB knows.
def _beside(w: Text) -> str:
    ea, both = w.ea, w.addresses.orders
    ordered = _ordered(w.x, "value.b", "value") + "\n" if both else ""
    value = "%value.b" if both else "%value"
    return f"""other:
  %place = call ptr @beside(ptr %cpu, {ea} %ea, i32 %size)
  %near = icmp ne ptr %place, null
  br i1 %near, label %by, label %walk
by:
{ordered}  call void @host_store(ptr %place, i64 {value}, i32 %size)
  call void @stored_beside(ptr %cpu, {ea} %ea, ptr %place, i32 %size)
  ret void
"""


def _slow(w: Text, kind: str) -> str:
    """The head that `slow_load` and `slow_store` share: translate one or two pages."""
    store, ea, ra, x = w.store, w.ea, w.ra, w.x
    tag = 0 if kind == "read" else w.addresses.line.write
    give = "ret i64 0" if kind == "read" else "ret void"
    both = w.addresses.orders
    if kind == "read":
        found = "  %r0 = call i64 @host_load(ptr %known, i32 %size)\n"
        found += f"{_ordered(x, 'r0.o', 'r0')}\n  ret i64 %r0.o" if both else "  ret i64 %r0"
        look, beside = "br i1 %changed, label %look, label %walk", ""
    else:
        value = "%value.o" if both else "%value"
        found = f"  call void @host_store(ptr %known, i64 {value}, i32 %size)\n  ret void"
        found = f"{_ordered(x, 'value.o', 'value')}\n{found}" if both else found
        look, beside = "br label %look", _beside(w)
    return f"""
entry:
{store("x_fault", "i32", "0")}
  %changed = call i1 @resolve(ptr %cpu)
  {look}
look:
  %known = call ptr @data_known(ptr %cpu, {ea} %ea, i32 %size, i64 {tag})
  %have = icmp ne ptr %known, null
  br i1 %have, label %found, label %{"other" if beside else "walk"}
found:
{found}
{beside}walk:
  %x = call {x} @xlate_{kind}(ptr %cpu, {ea} %ea)
  %h0 = lshr {x} %x, {w.up}
  %h1 = trunc {x} %h0 to i32
  %f = and i32 %h1, {FAULT_BITS}
  %bad = icmp ne i32 %f, 0
  br i1 %bad, label %fault1, label %ok1
fault1:
  call void @data_fault(ptr %cpu, {ea} %ea, i32 %f)
  {give}
ok1:
  %wb = call i32 @watch_{kind}(ptr %cpu, {ea} %ea, i32 %size)
  %watched = icmp ne i32 %wb, 0
  br i1 %watched, label %stop, label %ok2
stop:
  call void @data_fault(ptr %cpu, {ea} %ea, i32 %wb)
  {give}
ok2:
  %ra = trunc {x} %x to {ra}
{w.last("ea", "size")}
  %diff = xor {ea} %last, %ea
  %dpage = and {ea} %diff, -4096
  %cross = icmp ne {ea} %dpage, 0
  br i1 %cross, label %second, label %one
second:
  %ea2 = and {ea} %last, -4096
  %x2 = call {x} @xlate_{kind}(ptr %cpu, {ea} %ea2)
  %g0 = lshr {x} %x2, {w.up}
  %g1 = trunc {x} %g0 to i32
  %g = and i32 %g1, {FAULT_BITS}
  %bad2 = icmp ne i32 %g, 0
  br i1 %bad2, label %fault2, label %two
fault2:
  call void @data_fault(ptr %cpu, {ea} %ea2, i32 %g)
  {give}
two:
  %ra2 = trunc {x} %x2 to {ra}
  br label %loop
loop:
  %n = phi i32 [ 0, %two ], [ %n1, %loop ]"""


def slow(w: Text) -> str:
    field, store, ea, ra, x = w.field, w.store, w.ea, w.ra, w.x
    step, next_page = "  %ean = add i32 %ea, %n", "  %next = add i32 %pa, 4096"
    if ea == "i64":
        step = "  %ean.far = add i64 %ea, %n.w\n" + w.in_mode("ean", "ean.far")
        next_page = w.next_page("next", "pa")
    # Real address %r of byte %n, in the one page or the other.
    place = f"""{w.grow("n")}
{step}
  %pagen = and {ea} %ean, -4096
  %in2 = icmp eq {ea} %pagen, %ea2
  %low = and {ea} %ean, 4095
  %r2 = add {ra} %ra2, %low
  %r1 = add {ra} %ra, {w.as_("n")}
  %r = select i1 %in2, {ra} %r2, {ra} %r1"""
    return f"""
; Leaves what `h_data_fault` makes an interrupt of; callers return at once.
define internal void @data_fault(ptr %cpu, {ea} %ea, i32 %fault) nounwind {{
{store("x_fault", "i32", "%fault")}
{store("x_dar", ea, "%ea")}
{store("x_vector", "i32", str(int(Interrupt.DSI)))}
  ret void
}}
; A load that the TLB did not answer: translates all, then reads, then fills the TLB.  The value, or
; 0 with `x_fault` set.  Two pages are read byte by byte.
define hidden i64 @slow_load(ptr %cpu, {ea} %ea, i32 %size) nounwind noinline {{{_slow(w, "read")}
  %v = phi i64 [ 0, %two ], [ %v2, %loop ]
{place}
  %byte = call i64 @bus_load(ptr %cpu, {ra} %r, i32 1)
  %vs = shl i64 %v, 8
  %v2 = or i64 %vs, %byte
  %n1 = add i32 %n, 1
  %again = icmp ult i32 %n1, %size
  br i1 %again, label %loop, label %done
done:
  call void @note_access(ptr %cpu, {ea} %ea, i32 %size, i32 1)
  %v3 = call i64 @in_order(ptr %cpu, {x} %x, i64 %v2, i32 %size)
  ret i64 %v3
one:
  call void @fill(ptr %cpu, {ea} %ea, {x} %x)
  %w0 = call i64 @bus_load(ptr %cpu, {ra} %ra, i32 %size)
  call void @note_access(ptr %cpu, {ea} %ea, i32 %size, i32 1)
  %w = call i64 @in_order(ptr %cpu, {x} %x, i64 %w0, i32 %size)
  ret i64 %w
}}
; The same for a store; nothing is written when any of it faults.
define hidden void @slow_store(ptr %cpu, {ea} %ea, i64 %value, i32 %size)
    nounwind noinline {{{_slow(w, "write")}
{place}
  %up = sub i32 %size, %n
  %up1 = sub i32 %up, 1
  %sh = shl i32 %up1, 3
  %shw = zext i32 %sh to i64
  %ordered = call i64 @in_order(ptr %cpu, {x} %x, i64 %value, i32 %size)
  %byte = lshr i64 %ordered, %shw
  %b = and i64 %byte, 255
  call void @bus_store(ptr %cpu, {ra} %r, i64 %b, i32 1)
  %n1 = add i32 %n, 1
  %again = icmp ult i32 %n1, %size
  br i1 %again, label %loop, label %done
done:
  call void @note_access(ptr %cpu, {ea} %ea, i32 %size, i32 2)
  ret void
one:
  %whole = call i64 @in_order(ptr %cpu, {x} %x, i64 %value, i32 %size)
  call void @bus_store(ptr %cpu, {ra} %ra, i64 %whole, i32 %size)
  call void @fill(ptr %cpu, {ea} %ea, {x} %x)
  call void @note_access(ptr %cpu, {ea} %ea, i32 %size, i32 2)
  ret void
}}
; What an access of %len bytes would fault with, in `x_fault`; R and C are set as it would.
define hidden void @probe(ptr %cpu, {ea} %ea, i32 %len, i32 %access) nounwind noinline {{
entry:
  call i1 @resolve(ptr %cpu)
{store("x_fault", "i32", "0")}
  %some = icmp ne i32 %len, 0
  br i1 %some, label %start, label %out
start:
{w.last("ea", "len", "end")}
  %iswrite = icmp eq i32 %access, {int(Access.WRITE)}
  %place = call ptr @beside(ptr %cpu, {ea} %ea, i32 %len)
  %near = icmp ne ptr %place, null
  %known = and i1 %near, %iswrite
  br i1 %known, label %out, label %search
search:
  %sw = call i32 @watch_write(ptr %cpu, {ea} %ea, i32 %len)
  %sr = call i32 @watch_read(ptr %cpu, {ea} %ea, i32 %len)
  %wb = select i1 %iswrite, i32 %sw, i32 %sr
  %watched = icmp ne i32 %wb, 0
  br label %loop
loop:
  %at = phi {ea} [ %ea, %search ], [ %next, %more ]
  br i1 %iswrite, label %w, label %r
w:
  %xw = call {x} @xlate_write(ptr %cpu, {ea} %at)
  br label %join
r:
  %xr = call {x} @xlate_read(ptr %cpu, {ea} %at)
  br label %join
join:
  %x = phi {x} [ %xw, %w ], [ %xr, %r ]
  %h0 = lshr {x} %x, {w.up}
  %h1 = trunc {x} %h0 to i32
  %f = and i32 %h1, {FAULT_BITS}
  %bad = icmp ne i32 %f, 0
  br i1 %bad, label %fault, label %ok
fault:
  call void @data_fault(ptr %cpu, {ea} %at, i32 %f)
  ret void
ok:
  br i1 %watched, label %stop, label %on
stop:
  call void @data_fault(ptr %cpu, {ea} %ea, i32 %wb)
  ret void
on:
  %pa = and {ea} %at, -4096
  %pe = and {ea} %end, -4096
  %done = icmp eq {ea} %pa, %pe
  br i1 %done, label %out, label %more
more:
{next_page}
  br label %loop
out:
  ret void
}}
; Whether the data TLB's line of %ea is of a copy-back cached page.
define internal i1 @may_clear(ptr %cpu, {ea} %ea) nounwind alwaysinline {{
{field("dtlb", "dtlb", "ptr")}
  %a = lshr {ea} %ea, 12
  %b = and {ea} %a, {DTLB_ENTRIES - 1}
{w.wide("n", "b")}
  %flags = getelementptr i8, ptr %dtlb, i64 {w.addresses.tables.dtlb_flags}
  %p = getelementptr i8, ptr %flags, i64 %n
  %flag = load i8, ptr %p{TB_TLB}
  %r = icmp eq i8 %flag, 0
  ret i1 %r
}}
; dcbz: clears 32 bytes; an alignment interrupt (DSISR %dsisr) where W or I is set.
define internal void @zero_line(ptr %cpu, {ea} %ea, i32 %dsisr) nounwind noinline {{
entry:
  call i1 @resolve(ptr %cpu)
{store("x_fault", "i32", "0")}
  %place = call ptr @beside(ptr %cpu, {ea} %ea, i32 32)
  %near = icmp ne ptr %place, null
  %cached = call i1 @may_clear(ptr %cpu, {ea} %ea)
  %known = and i1 %near, %cached
  br i1 %known, label %by, label %walk
by:
  store <4 x i64> zeroinitializer, ptr %place, align 1{TB_MEM}
  call void @stored_beside(ptr %cpu, {ea} %ea, ptr %place, i32 32)
  ret void
walk:
  %x = call {x} @xlate_write(ptr %cpu, {ea} %ea)
  %h0 = lshr {x} %x, {w.up}
  %h1 = trunc {x} %h0 to i32
  %f = and i32 %h1, {FAULT_BITS}
  %bad = icmp ne i32 %f, 0
  br i1 %bad, label %fault, label %ok
fault:
  call void @data_fault(ptr %cpu, {ea} %ea, i32 %f)
  ret void
ok:
  %wi = and i32 %h1, {WIMG_W | WIMG_I}
  %uncached = icmp ne i32 %wi, 0
  br i1 %uncached, label %align, label %go
align:
  call void @data_fault(ptr %cpu, {ea} %ea, i32 %dsisr)
{store("x_vector", "i32", str(int(Interrupt.ALIGNMENT)))}
  ret void
go:
  %wb = call i32 @watch_write(ptr %cpu, {ea} %ea, i32 32)
  %watched = icmp ne i32 %wb, 0
  br i1 %watched, label %stop, label %clear
stop:
  call void @data_fault(ptr %cpu, {ea} %ea, i32 %wb)
  ret void
clear:
  %ra = trunc {x} %x to {ra}
  br label %loop
loop:
  %n = phi i32 [ 0, %clear ], [ %n1, %loop ]
{w.grow("n")}
  %r = add {ra} %ra, {w.as_("n")}
  call void @bus_store(ptr %cpu, {ra} %r, i64 0, i32 8)
  %n1 = add i32 %n, 8
  %again = icmp ult i32 %n1, 32
  br i1 %again, label %loop, label %done
done:
  call void @fill(ptr %cpu, {ea} %ea, {x} %x)
  call void @note_access(ptr %cpu, {ea} %ea, i32 32, i32 2)
  ret void
}}
"""
