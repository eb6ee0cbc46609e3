"""The fixed part of native code: dispatch, exits, slow memory paths, translation caches.

Written as LLVM text over the fields of `context`.  `translate` and exception entry come from the
same bodies as everywhere (`cpu.mmu`, `cpu.exceptions`).
"""

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
    ENTRY_STRIDE,
    ITLB_ENTRIES,
    ITLB_SIZE,
)
from gossamer.engine.emit import TB_CPU, TB_ENTRY, TB_MEM, TB_TLB
from gossamer.engine.statements import StatementWriter, text_of
from gossamer.isa.body import SRR1_ILLEGAL, Access, Body, Branch, Effect, Interrupt, Raise
from gossamer.isa.expr import Expr
from gossamer.isa.service import SERVICES

_H: Final = "(ptr %cpu, ptr %e, i64 %K) nounwind"


class _BodyFunction(StatementWriter):
    """A function made from a body: parameters are ``arg`` leaves, a branch writes NIA."""

    def __init__(self, intrinsics: set[str]) -> None:
        super().__init__(intrinsics)
        self.leaves = {"arg": lambda e: f"%a{e.arg}", "ram": self.ram}
        self.ends: list[str] = []

    def prepare_ends(self, ends: list[Raise | Effect | Branch]) -> None:
        for s in ends:
            if isinstance(s, Branch):
                nia = self.register("nia", Expr("const", 32, (), 0))
                self.ends.insert(0, f"store i32 {self.expr(s.target)}, ptr {nia}{TB_CPU}")
            elif isinstance(s, Effect):
                self.ends.append(f"call void @effect_{s.name}(ptr %cpu)")


def service_functions(intrinsics: set[str]) -> str:
    """One function for each registered service of `isa.service`."""
    out = []
    for s in SERVICES.values():
        f = _BodyFunction(intrinsics)
        result = f.expr(s.result)
        f.line(f"ret i{s.width} {result}")
        params = ", ".join(f"i{w} %a{n}" for n, w in enumerate(s.widths))
        out.append(
            text_of(f, f"define internal i{s.width} @service_{s.name}({params}) nounwind noinline")
        )
    return "\n".join(out)


def translation_functions(intrinsics: set[str]) -> str:
    """``i64 xlate_<kind>(cpu, ea)``: real address, and above it fault bits | writable | WIMG."""
    out = []
    for access in Access:
        f = _BodyFunction(intrinsics)
        s = Body()
        t = mmu.translate(s, Expr("arg", 32, (), 0), access)
        ra, fault, wimg, writable = (f.expr(e) for e in (t.ra, t.fault, t.wimg, t.writable))
        f.carry_out(s.trace)
        low = f.value(f"zext i32 {ra} to i64")
        attributes = f.value(f"zext i4 {wimg} to i32")
        flag = f.value(f"select i1 {writable}, i32 16, i32 0")
        joined = f.value(f"or i32 {f.value(f'or i32 {attributes}, {flag}')}, {fault}")
        high = f.value(f"shl i64 {f.value(f'zext i32 {joined} to i64')}, 32")
        f.line(f"ret i64 {f.value(f'or i64 {high}, {low}')}")
        name = f"xlate_{access.name.lower()}"
        out.append(text_of(f, f"define internal i64 @{name}(ptr %cpu, i32 %a0) nounwind"))
    return "\n".join(out)


def entry_function(intrinsics: set[str]) -> str:
    """``void enter(cpu, vector, srr0, srr1)``: exception entry."""
    f = _BodyFunction(intrinsics)
    s = Body()
    exceptions.enter(s, *(Expr("arg", 32, (), n) for n in range(3)))
    f.carry_out(s.trace)
    for end in f.ends:
        f.line(end)
    f.line("ret void")
    return text_of(
        f, "define internal void @enter(ptr %cpu, i32 %a0, i32 %a1, i32 %a2) nounwind noinline"
    )


def _field(name: str, result: str, kind: str) -> str:
    """Two lines that load a context field or register into %result."""
    at = CONTEXT[name] if name in CONTEXT else OFFSET[name]
    return (
        f"  %{result}.p = getelementptr i8, ptr %cpu, i64 {at}\n"
        f"  %{result} = load {kind}, ptr %{result}.p{TB_CPU}"
    )


_unique = iter(range(1 << 30))


def _set(name: str, kind: str, value: str) -> str:
    at = CONTEXT[name] if name in CONTEXT else OFFSET[name]
    p = f"%s{next(_unique)}"
    return (
        f"  {p} = getelementptr i8, ptr %cpu, i64 {at}\n"
        f"  store {kind} {value}, ptr {p}{TB_CPU}"
    )


def fixed_functions() -> str:
    """Everything that does not depend on the instruction set."""
    return "\n".join([_LEAVES, _EXITS, _JUMP, _DECODE, _MEMORY, _SLOW, _TABLES, _ENTRIES, _RUN])


_LEAVES = f"""
@zeros = internal constant [64 x i8] zeroinitializer, align 64
define internal i32 @cia_of(ptr %cpu, ptr %e) nounwind alwaysinline {{
{_field("fpage", "page", "i32")}
  %x = ptrtoint ptr %e to i64
  %y = trunc i64 %x to i32
  %z = and i32 %y, {ENTRY_STRIDE - 1}
  %o = lshr i32 %z, 2
  %r = add i32 %page, %o
  ret i32 %r
}}
define internal i64 @now_of(ptr %cpu, ptr %e, i64 %K) nounwind alwaysinline {{
{_field("end_count", "end", "i64")}
{_field("base_count", "count", "i64")}
{_field("base_ns", "ns", "i64")}
{_field("rate", "rate", "i64")}
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
define internal i32 @page_of(ptr %cpu, i32 %ra) nounwind alwaysinline {{
{_field("pages", "pages", "ptr")}
  %x = lshr i32 %ra, 12
  %y = zext i32 %x to i64
  %p = getelementptr i32, ptr %pages, i64 %y
  %r = load i32, ptr %p{TB_TLB}
  ret i32 %r
}}
define internal ptr @host_of(ptr %cpu, i32 %page, i32 %ra) nounwind alwaysinline {{
{_field("arena", "arena", "ptr")}
  %i = and i32 %page, 2147483647
  %j = zext i32 %i to i64
  %k = shl i64 %j, 12
  %l = and i32 %ra, 4095
  %m = zext i32 %l to i64
  %o = or i64 %k, %m
  %r = getelementptr i8, ptr %arena, i64 %o
  ret ptr %r
}}
define internal ptr @ram_pointer(ptr %cpu, i32 %ra) nounwind alwaysinline {{
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  %none = icmp eq i32 %page, -1
  %r = select i1 %none, ptr @zeros, ptr %host
  ret ptr %r
}}
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
define internal void @page_written(ptr %cpu, i32 %page, i32 %ra, i32 %size) nounwind {{
{_field("dirty", "dirty", "ptr")}
{_field("code", "code", "ptr")}
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

_EXITS = f"""
define internal void @h_exit{_H} {{
  %nia = call i32 @cia_of(ptr %cpu, ptr %e)
{_set("nia", "i32", "%nia")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
{_set("left", "i64", "%left")}
  ret void
}}
define internal void @h_exit_pc{_H} {{
{_set("left", "i64", "%K")}
  ret void
}}
define internal void @h_next{_H} {{
{_field("exit_request", "stop", "i32")}
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %on, label %out, !prof !9
on:
  %h = load ptr, ptr %e{TB_ENTRY}
  musttail call void %h(ptr %cpu, ptr %e, i64 %K)
  ret void
out:
  musttail call void @h_exit(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @h_sync{_H} {{
{_field("exit_request", "stop", "i32")}
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %on, label %out, !prof !9
on:
  musttail call void @h_jump(ptr %cpu, ptr %e, i64 %K)
  ret void
out:
  musttail call void @h_exit_pc(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @h_interrupt{_H} {{
  %srr0 = call i32 @cia_of(ptr %cpu, ptr %e)
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
  musttail call void @h_sync(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal void @h_illegal{_H} {{
{_set("x_vector", "i32", str(int(Interrupt.PROGRAM)))}
{_set("x_srr1", "i32", str(SRR1_ILLEGAL))}
  musttail call void @h_interrupt(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @h_data_fault{_H} {{
{_field("x_fault", "fault", "i32")}
{_field("x_dar", "dar", "i32")}
{_set("dsisr", "i32", "%fault")}
{_set("dar", "i32", "%dar")}
{_set("x_srr1", "i32", "0")}
  musttail call void @h_interrupt(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @h_interrupt_after{_H} {{
  %cia = call i32 @cia_of(ptr %cpu, ptr %e)
  %srr0 = add i32 %cia, 4
  call void @take(ptr %cpu, i32 %srr0)
  %here = ptrtoint ptr %e to i64
  %l = sub i64 %K, %here
  %left = sub i64 %l, 16
  musttail call void @h_sync(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal void @take(ptr %cpu, i32 %srr0) nounwind {{
{_field("x_vector", "vector", "i32")}
{_field("x_srr1", "srr1", "i32")}
  call void @enter(ptr %cpu, i32 %vector, i32 %srr0, i32 %srr1)
  ret void
}}
"""

_JUMP = f"""
define internal void @h_page_end{_H} {{
{_field("fpage", "page", "i32")}
  %next = add i32 %page, 4096
{_set("nia", "i32", "%next")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
  musttail call void @h_jump(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define internal void @h_jump{_H} {{
  %enough = icmp sgt i64 %K, 0
  br i1 %enough, label %look, label %out, !prof !9
out:
  musttail call void @h_exit_pc(ptr %cpu, ptr null, i64 %K)
  ret void
look:
{_field("nia", "nia", "i32")}
{_field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
  %tag = load i32, ptr %line{TB_TLB}
  %page = and i32 %nia, -4096
  %hit = icmp eq i32 %tag, %page
  br i1 %hit, label %go, label %miss, !prof !9
miss:
  %fault = call i32 @fill_fetch(ptr %cpu)
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %isi, label %again
again:
  musttail call void @h_jump(ptr %cpu, ptr null, i64 %K)
  ret void
isi:
  call void @enter(ptr %cpu, i32 {int(Interrupt.ISI)}, i32 %nia, i32 %fault)
  %rest = sub i64 %K, 16
  musttail call void @h_sync(ptr %cpu, ptr null, i64 %rest)
  ret void
go:
  %w = getelementptr i8, ptr %line, i64 8
  %base = load ptr, ptr %w{TB_TLB}
{_set("fpage", "i32", "%page")}
  %low = and i32 %nia, 4092
  %sh = shl i32 %low, 2
  %o = zext i32 %sh to i64
  %t = getelementptr i8, ptr %base, i64 %o
  %ti = ptrtoint ptr %t to i64
  %k = add i64 %K, %ti
  %h = load ptr, ptr %t{TB_ENTRY}
  musttail call void %h(ptr %cpu, ptr %t, i64 %k)
  ret void
}}
define internal i32 @fill_fetch(ptr %cpu) nounwind noinline {{
  call void @resolve(ptr %cpu)
{_field("nia", "nia", "i32")}
  %x = call i64 @xlate_fetch(ptr %cpu, i32 %nia)
  %hi = lshr i64 %x, 32
  %h = trunc i64 %hi to i32
  %fault = and i32 %h, -32
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %fail, label %ok
fail:
  ret i32 %fault
ok:
  %ra = trunc i64 %x to i32
  %pg = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %pg, -1
{_field("entries", "entries", "ptr")}
{_field("entries_end", "end", "ptr")}
{_field("ready", "ready", "ptr")}
  %i = and i32 %pg, 2147483647
  %j = zext i32 %i to i64
  %o = mul i64 %j, {ENTRY_STRIDE}
  %mine = getelementptr i8, ptr %entries, i64 %o
  %base = select i1 %none, ptr %end, ptr %mine
  br i1 %none, label %put, label %check
check:
  %rp = getelementptr i8, ptr %ready, i64 %j
  %r = load i8, ptr %rp{TB_TLB}
  %fresh = icmp eq i8 %r, 0
  br i1 %fresh, label %init, label %put
init:
  store i8 1, ptr %rp{TB_TLB}
  call void @fill_page(ptr %base, ptr @h_decode)
  br label %put
put:
{_field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
  %page = and i32 %nia, -4096
  store i32 %page, ptr %line{TB_TLB}
  %bp = getelementptr i8, ptr %line, i64 8
  store ptr %base, ptr %bp{TB_TLB}
  ret i32 0
}}
define internal void @fill_page(ptr %base, ptr %handler) nounwind {{
entry:
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %m, %loop ]
  %o = shl i64 %n, 4
  %p = getelementptr i8, ptr %base, i64 %o
  store ptr %handler, ptr %p{TB_ENTRY}
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, 1024
  br i1 %more, label %loop, label %out
out:
  %s = getelementptr i8, ptr %base, i64 16384
  store ptr @h_page_end, ptr %s{TB_ENTRY}
  ret void
}}
"""

_DECODE = f"""
define internal void @h_decode{_H} {{
  call void @decode(ptr %cpu, ptr %e)
  %h = load ptr, ptr %e{TB_ENTRY}
  musttail call void %h(ptr %cpu, ptr %e, i64 %K)
  ret void
}}
define internal void @decode(ptr %cpu, ptr %e) nounwind noinline {{
entry:
{_field("entries", "entries", "ptr")}
{_field("arena", "arena", "ptr")}
{_field("code", "code", "ptr")}
{_field("decode_table", "table", "ptr")}
  %x = ptrtoint ptr %e to i64
  %y = ptrtoint ptr %entries to i64
  %off = sub i64 %x, %y
  %page = lshr i64 %off, 15
  %in = and i64 %off, {ENTRY_STRIDE - 1}
  %o = lshr i64 %in, 2
  %pb = shl i64 %page, 12
  %at = add i64 %pb, %o
  %wp = getelementptr i8, ptr %arena, i64 %at
  %raw = load i32, ptr %wp, align 4{TB_MEM}
  %word = call i32 @llvm.bswap.i32(i32 %raw)
  %op = lshr i32 %word, 26
  %opw = zext i32 %op to i64
  %tp = getelementptr ptr, ptr %table, i64 %opw
  %first = load ptr, ptr %tp
  br label %loop
loop:
  %row = phi ptr [ %first, %entry ], [ %nextrow, %more ]
  %mask = load i32, ptr %row
  %mp = getelementptr i8, ptr %row, i64 4
  %match = load i32, ptr %mp
  %w = and i32 %word, %mask
  %is = icmp eq i32 %w, %match
  br i1 %is, label %found, label %more
more:
  %nextrow = getelementptr i8, ptr %row, i64 32
  br label %loop
found:
  %kp = getelementptr i8, ptr %row, i64 8
  %kind = load i32, ptr %kp
  %b1 = and i32 %word, 65532
  %b2 = shl i32 %b1, 16
  %b3 = ashr i32 %b2, 16
  %i1 = and i32 %word, 67108860
  %i2 = shl i32 %i1, 6
  %i3 = ashr i32 %i2, 6
  %isb = icmp eq i32 %kind, 1
  %d = select i1 %isb, i32 %b3, i32 %i3
  %o32 = trunc i64 %o to i32
  %target = add i32 %o32, %d
  %local = icmp ult i32 %target, 4096
  %lp = getelementptr i8, ptr %row, i64 16
  %lh = load ptr, ptr %lp
  %fp = getelementptr i8, ptr %row, i64 24
  %fh = load ptr, ptr %fp
  %h = select i1 %local, ptr %lh, ptr %fh
  store ptr %h, ptr %e{TB_ENTRY}
  %ep = getelementptr i8, ptr %e, i64 8
  store i32 %word, ptr %ep{TB_ENTRY}
  %cp = getelementptr i8, ptr %code, i64 %page
  %c = load i8, ptr %cp{TB_TLB}
  %new = icmp eq i8 %c, 0
  br i1 %new, label %first_code, label %out
first_code:
  store i8 1, ptr %cp{TB_TLB}
  call void @flush(ptr %cpu)
  br label %out
out:
  ret void
}}
define void @code_written(ptr %cpu, i64 %off, i64 %len) nounwind {{
entry:
{_field("entries", "entries", "ptr")}
{_field("code", "code", "ptr")}
{_field("code_writes", "writes", "ptr")}
  %page = lshr i64 %off, 12
  %wp = getelementptr i8, ptr %writes, i64 %page
  %w = load i8, ptr %wp{TB_TLB}
  %w1 = add i8 %w, 1
  store i8 %w1, ptr %wp{TB_TLB}
  %start = and i64 %off, -4
  %end = add i64 %off, %len
  %last = icmp eq i8 %w1, 64
  br i1 %last, label %drop, label %loop
drop:
  store i8 0, ptr %wp{TB_TLB}
  %cp = getelementptr i8, ptr %code, i64 %page
  store i8 0, ptr %cp{TB_TLB}
  %po = mul i64 %page, {ENTRY_STRIDE}
  %pp = getelementptr i8, ptr %entries, i64 %po
  call void @fill_page(ptr %pp, ptr @h_decode)
  br label %loop
loop:
  %at = phi i64 [ %start, %entry ], [ %start, %drop ], [ %next, %step ]
  %more = icmp ult i64 %at, %end
  br i1 %more, label %look, label %out
look:
  %p = lshr i64 %at, 12
  %cq = getelementptr i8, ptr %code, i64 %p
  %c = load i8, ptr %cq{TB_TLB}
  %has = icmp ne i8 %c, 0
  br i1 %has, label %reset, label %step
reset:
  %eo = mul i64 %p, {ENTRY_STRIDE}
  %in = and i64 %at, 4092
  %i4 = shl i64 %in, 2
  %eoff = add i64 %eo, %i4
  %e = getelementptr i8, ptr %entries, i64 %eoff
  store ptr @h_decode, ptr %e{TB_ENTRY}
  br label %step
step:
  %next = add i64 %at, 4
  br label %loop
out:
  ret void
}}
"""

_MEMORY = f"""
define internal i64 @bus_load(ptr %cpu, i32 %ra, i32 %size) nounwind {{
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %mmio, label %ram
mmio:
{_field("load_callback", "cb", "ptr")}
  %m = call i64 %cb(i32 %ra, i32 %size)
  ret i64 %m
ram:
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
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
define internal void @bus_store(ptr %cpu, i32 %ra, i64 %value, i32 %size) nounwind {{
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  br i1 %none, label %mmio, label %ram
mmio:
{_field("store_callback", "cb", "ptr")}
  call void %cb(i32 %ra, i64 %value, i32 %size)
  ret void
ram:
  %rom = icmp slt i32 %page, 0
  br i1 %rom, label %out, label %do
do:
  %host = call ptr @host_of(ptr %cpu, i32 %page, i32 %ra)
  switch i32 %size, label %w8 [ i32 1, label %w1
    i32 2, label %w2
    i32 4, label %w4 ]
w1:
  %v1 = trunc i64 %value to i8
  store i8 %v1, ptr %host{TB_MEM}
  br label %mark
w2:
  %v2 = trunc i64 %value to i16
  %s2 = call i16 @llvm.bswap.i16(i16 %v2)
  store i16 %s2, ptr %host, align 1{TB_MEM}
  br label %mark
w4:
  %v4 = trunc i64 %value to i32
  %s4 = call i32 @llvm.bswap.i32(i32 %v4)
  store i32 %s4, ptr %host, align 1{TB_MEM}
  br label %mark
w8:
  %s8 = call i64 @llvm.bswap.i64(i64 %value)
  store i64 %s8, ptr %host, align 1{TB_MEM}
  br label %mark
mark:
  call void @page_written(ptr %cpu, i32 %page, i32 %ra, i32 %size)
  br label %out
out:
  ret void
}}
define internal void @fill(ptr %cpu, i32 %ea, i64 %x) nounwind {{
{_field("bypass", "bypass", "i32")}
  %ra = trunc i64 %x to i32
  %page = call i32 @page_of(ptr %cpu, i32 %ra)
  %none = icmp eq i32 %page, -1
  %by = icmp ne i32 %bypass, 0
  %skip = or i1 %none, %by
  br i1 %skip, label %out, label %do
do:
{_field("dtlb", "dtlb", "ptr")}
{_field("code", "code", "ptr")}
{_field("dirty", "dirty", "ptr")}
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
  %w1 = and i1 %nocode, %isdirty
  %w2 = and i1 %ram, %may
  %w = and i1 %w1, %w2
  %tagw = select i1 %w, i32 %eapage, i32 1
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


def _slow(kind: str) -> str:
    """The head that `slow_load` and `slow_store` share: translate one or two pages."""
    give = "ret i64 0" if kind == "read" else "ret void"
    return f"""
entry:
  call void @resolve(ptr %cpu)
{_set("x_fault", "i32", "0")}
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


_SLOW = f"""
define internal void @data_fault(ptr %cpu, i32 %ea, i32 %fault) nounwind {{
{_set("x_fault", "i32", "%fault")}
{_set("x_dar", "i32", "%ea")}
{_set("x_vector", "i32", str(int(Interrupt.DSI)))}
  ret void
}}
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
  ret i64 %v2
one:
  call void @fill(ptr %cpu, i32 %ea, i64 %x)
  %w = call i64 @bus_load(ptr %cpu, i32 %ra, i32 %size)
  ret i64 %w
}}
define internal void @slow_store(ptr %cpu, i32 %ea, i64 %value, i32 %size) nounwind noinline {{{_slow("write")}
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
  ret void
one:
  call void @bus_store(ptr %cpu, i32 %ra, i64 %value, i32 %size)
  call void @fill(ptr %cpu, i32 %ea, i64 %x)
  ret void
}}
define internal void @probe(ptr %cpu, i32 %ea, i32 %len, i32 %access) nounwind noinline {{
entry:
  call void @resolve(ptr %cpu)
{_set("x_fault", "i32", "0")}
  %some = icmp ne i32 %len, 0
  br i1 %some, label %start, label %out
start:
  %l1 = sub i32 %len, 1
  %end = add i32 %ea, %l1
  br label %loop
loop:
  %at = phi i32 [ %ea, %start ], [ %next, %more ]
  %iswrite = icmp eq i32 %access, {int(Access.WRITE)}
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
define internal void @zero_line(ptr %cpu, i32 %ea, i32 %dsisr) nounwind noinline {{
entry:
  call void @resolve(ptr %cpu)
{_set("x_fault", "i32", "0")}
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
  %wi = and i32 %h1, {mmu.WIMG_W | mmu.WIMG_I}
  %uncached = icmp ne i32 %wi, 0
  br i1 %uncached, label %align, label %go
align:
  call void @data_fault(ptr %cpu, i32 %ea, i32 %dsisr)
{_set("x_vector", "i32", str(int(Interrupt.ALIGNMENT)))}
  ret void
go:
  %ra = trunc i64 %x to i32
  br label %loop
loop:
  %n = phi i32 [ 0, %go ], [ %n1, %loop ]
  %r = add i32 %ra, %n
  call void @bus_store(ptr %cpu, i32 %r, i64 0, i32 8)
  %n1 = add i32 %n, 8
  %again = icmp ult i32 %n1, 32
  br i1 %again, label %loop, label %out
out:
  ret void
}}
"""

_TABLES = f"""
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
{_field("msr", "msr", "i32")}
{_field("segments_dirty", "dirty", "i32")}
{_field("bypass", "bypass", "i32")}
{_field("bank", "bank", "i32")}
{_field("banks", "banks", "ptr")}
{_field("d_real", "dreal", "ptr")}
{_field("i_real", "ireal", "ptr")}
{_field("d_null", "dnull", "ptr")}
{_field("i_null", "inull", "ptr")}
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
{_set("dtlb", "ptr", "%d")}
{_set("itlb", "ptr", "%i")}
  ret void
}}
define internal void @resolve(ptr %cpu) nounwind noinline {{
entry:
{_field("segments_dirty", "dirty", "i32")}
  %clean = icmp eq i32 %dirty, 0
  br i1 %clean, label %out, label %search
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
{_field("next_bank", "victim", "i32")}
  %v1 = add i32 %victim, 1
  %v2 = and i32 %v1, {BANKS - 1}
{_set("next_bank", "i32", "%v2")}
  %vw = zext i32 %victim to i64
  %ep0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_valid"]}
  %ep = getelementptr i8, ptr %ep0, i64 %vw
  store i8 1, ptr %ep{TB_CPU}
  %so = shl i64 %vw, 6
  %sp0 = getelementptr i8, ptr %cpu, i64 {CONTEXT["bank_segments"]}
  %sp = getelementptr i8, ptr %sp0, i64 %so
  store <16 x i32> %sr, ptr %sp, align 4{TB_CPU}
{_field("banks", "banks", "ptr")}
  %bo = mul i64 %vw, {BANK_SIZE}
  %bp = getelementptr i8, ptr %banks, i64 %bo
  call void @clear_tags(ptr %bp, i64 {BANK_SIZE // 16})
  br label %found
found:
  %which = phi i64 [ %n, %compare ], [ %vw, %evict ]
  %w32 = trunc i64 %which to i32
{_set("bank", "i32", "%w32")}
{_set("segments_dirty", "i32", "0")}
  call void @set_tables(ptr %cpu)
  br label %out
out:
  ret void
}}
define void @effect_msr(ptr %cpu) nounwind {{
  call void @set_tables(ptr %cpu)
{_field("msr", "msr", "i32")}
{_field("irq", "irq", "i64")}
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
{_set("exit_request", "i32", "1")}
  br label %out
out:
  ret void
}}
define internal void @effect_segment(ptr %cpu) nounwind {{
{_set("segments_dirty", "i32", "1")}
  call void @set_tables(ptr %cpu)
  ret void
}}
define internal void @effect_tlb(ptr %cpu) nounwind {{
{_set("bank_valid", "i64", "0")}
  call void @effect_segment(ptr %cpu)
  ret void
}}
define internal void @effect_translation(ptr %cpu) nounwind {{
  call void @effect_tlb(ptr %cpu)
  ret void
}}
define void @flush(ptr %cpu) nounwind {{
{_field("d_real", "dreal", "ptr")}
{_field("i_real", "ireal", "ptr")}
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
{_field("banks", "banks", "ptr")}
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
{_field("effect_callback", "cb", "ptr")}
  call void %cb(i32 %code, i32 %arg)
  ret void
}}
"""

_ENTRIES = """
define void @prepare(ptr %cpu) nounwind {
  %p = getelementptr i8, ptr %cpu, i64 DECODE
  store ptr @decode_rows, ptr %p
  %q = getelementptr i8, ptr %cpu, i64 END
  %base = load ptr, ptr %q
  call void @fill_page(ptr %base, ptr @h_illegal)
  ret void
}
define void @interrupt(ptr %cpu, i32 %vector, i32 %srr0, i32 %srr1) nounwind {
  call void @enter(ptr %cpu, i32 %vector, i32 %srr0, i32 %srr1)
  ret void
}
""".replace("DECODE", str(CONTEXT["decode_table"])).replace("END", str(CONTEXT["entries_end"]))

_RUN = f"""
define void @run(ptr %cpu, i64 %left) nounwind {{
  call void @h_jump(ptr %cpu, ptr null, i64 %left)
  ret void
}}
define void @step(ptr %cpu, i64 %count) nounwind {{
entry:
{_field("end_count", "end", "i64")}
{_field("scratch", "scratch", "ptr")}
  %start = sub i64 %end, %count
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %next ]
{_field("exit_request", "stop", "i32")}
  %s = icmp ne i32 %stop, 0
  %enough = icmp eq i64 %n, %count
  %leave = or i1 %s, %enough
  br i1 %leave, label %out, label %look
look:
  %n1 = add i64 %n, 1
  %here = add i64 %start, %n1
{_set("end_count", "i64", "%here")}
{_field("nia", "nia", "i32")}
{_field("itlb", "itlb", "ptr")}
  %a = lshr i32 %nia, 8
  %b = and i32 %a, {(ITLB_ENTRIES - 1) * 16}
  %c = zext i32 %b to i64
  %line = getelementptr i8, ptr %itlb, i64 %c
  %tag = load i32, ptr %line{TB_TLB}
  %page = and i32 %nia, -4096
  %hit = icmp eq i32 %tag, %page
  br i1 %hit, label %go, label %miss
miss:
  %fault = call i32 @fill_fetch(ptr %cpu)
  %bad = icmp ne i32 %fault, 0
  br i1 %bad, label %isi, label %go2
isi:
  call void @enter(ptr %cpu, i32 {int(Interrupt.ISI)}, i32 %nia, i32 %fault)
  br label %next
go2:
  %itlbp2 = getelementptr i8, ptr %cpu, i64 {CONTEXT["itlb"]}
  %itlb2 = load ptr, ptr %itlbp2{TB_CPU}
  %line2 = getelementptr i8, ptr %itlb2, i64 %c
  br label %go
go:
  %ln = phi ptr [ %line, %look ], [ %line2, %go2 ]
  %w = getelementptr i8, ptr %ln, i64 8
  %base = load ptr, ptr %w{TB_TLB}
{_set("fpage", "i32", "%page")}
  %low = and i32 %nia, 4092
  %sh = shl i32 %low, 2
  %o = zext i32 %sh to i64
  %t = getelementptr i8, ptr %base, i64 %o
  %h0 = load ptr, ptr %t{TB_ENTRY}
  %raw = icmp eq ptr %h0, @h_decode
  br i1 %raw, label %dec, label %copy
dec:
  call void @decode(ptr %cpu, ptr %t)
  br label %copy
copy:
  %h = load ptr, ptr %t{TB_ENTRY}
  %tw = getelementptr i8, ptr %t, i64 8
  %word = load i32, ptr %tw{TB_ENTRY}
  %e = getelementptr i8, ptr %scratch, i64 %o
  store ptr %h, ptr %e{TB_ENTRY}
  %ew = getelementptr i8, ptr %e, i64 8
  store i32 %word, ptr %ew{TB_ENTRY}
  %en = getelementptr i8, ptr %e, i64 16
  store ptr @h_exit, ptr %en{TB_ENTRY}
  %ei = ptrtoint ptr %e to i64
  %k = add i64 %ei, 16
  call void %h(ptr %cpu, ptr %e, i64 %k)
  br label %next
next:
  br label %loop
out:
{_set("end_count", "i64", "%end")}
  %rest = sub i64 %count, %n
  %left = shl i64 %rest, 4
{_set("left", "i64", "%left")}
  ret void
}}
"""

#: Functions that Python calls.
EXPORTS: Final = ("run", "step", "interrupt", "effect_msr", "flush", "code_written", "prepare")
DECLARATIONS: Final = (
    "declare i16 @llvm.bswap.i16(i16)",
    "declare i32 @llvm.bswap.i32(i32)",
    "declare i64 @llvm.bswap.i64(i64)",
    "declare i32 @llvm.vector.reduce.or.v16i32(<16 x i32>)",
)
