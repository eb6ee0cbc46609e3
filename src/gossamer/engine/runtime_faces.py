"""Learned accesses to chips, and interrupts that need nothing of Python.

What was learned (`core.faces`) is a table hashed by key: real address | size << 32 | kind | face.
A hit gives the result, the face afterwards and the level of the CPU's external input; chips
themselves are brought there before Python looks at them (`Tier0._settle`).
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.msr import MSR_BE, MSR_EE, MSR_POW, MSR_SE
from gossamer.engine.context import (
    DATA_SLOTS,
    IRQ_EXIT,
    MOVE_DATA,
    MOVE_FACE,
    MOVE_LEVEL,
    MOVE_PROBES,
    MOVE_SLOT,
    MOVE_STORE,
    MOVES,
)
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import Text, handler, tail
from gossamer.isa.interrupts import Interrupt, Irq

_SPREAD_KEY: Final = 0x9E37_79B9_7F4A_7C15 - (1 << 64)
_SPREAD_VALUE: Final = 0x2545_F491_4F6C_DD1D
#: The bits of `irq`, read as one number, of what native code takes itself.
_OWN: Final = 0xFF << 8 * Irq.EXTERNAL | 0xFF << 8 * Irq.DECREMENTER


def learned(w: Text) -> str:
    field, store, ea, ra = w.field, w.store, w.ea, w.ra
    return f"""
; The slot of what was learned of %key and %value; else null, or with %free the one to fill.
define internal ptr @move_slot(ptr %cpu, i64 %key, i64 %value, i1 %free) nounwind {{
entry:
{field("moves", "moves", "ptr")}
  %h1 = mul i64 %key, {_SPREAD_KEY}
  %h2 = mul i64 %value, {_SPREAD_VALUE}
  %h3 = xor i64 %h1, %h2
  %first = lshr i64 %h3, {64 - (MOVES.bit_length() - 1)}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %next ]
  %i = add i64 %first, %n
  %j = and i64 %i, {MOVES - 1}
  %o = mul i64 %j, {MOVE_SLOT}
  %slot = getelementptr i8, ptr %moves, i64 %o
  %k = load i64, ptr %slot{TB_TLB}
  %vp = getelementptr i8, ptr %slot, i64 8
  %v = load i64, ptr %vp{TB_TLB}
  %same_k = icmp eq i64 %k, %key
  %same_v = icmp eq i64 %v, %value
  %same = and i1 %same_k, %same_v
  br i1 %same, label %found, label %other
other:
  %empty = icmp eq i64 %k, 0
  %fill = and i1 %empty, %free
  br i1 %fill, label %found, label %next
next:
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, {MOVE_PROBES}
  br i1 %more, label %loop, label %none
found:
  ret ptr %slot
none:
  %o1 = mul i64 %first, {MOVE_SLOT}
  %victim = getelementptr i8, ptr %moves, i64 %o1
  %r = select i1 %free, ptr %victim, ptr null
  ret ptr %r
}}

; Learns that %key with %value gives %result and leads to %then (face | flags << 32).
define void @learn(ptr %cpu, i64 %key, i64 %value, i64 %result, i64 %then) nounwind {{
  %slot = call ptr @move_slot(ptr %cpu, i64 %key, i64 %value, i1 true)
  store i64 %key, ptr %slot{TB_TLB}
  %vp = getelementptr i8, ptr %slot, i64 8
  store i64 %value, ptr %vp{TB_TLB}
  %rp = getelementptr i8, ptr %slot, i64 16
  store i64 %result, ptr %rp{TB_TLB}
  %tp = getelementptr i8, ptr %slot, i64 24
  store i64 %then, ptr %tp{TB_TLB}
  ret void
}}

; The key of an access in the present face; 0 when that is not known.
define internal i64 @move_key(ptr %cpu, {ra} %ra, i32 %size) nounwind alwaysinline {{
{field("face", "face", "i32")}
{w.wide("low", "ra")}
  %sw = zext i32 %size to i64
  %high = shl i64 %sw, 32
  %place = or i64 %low, %high
  %fw = zext i32 %face to i64
  %top = shl i64 %fw, {MOVE_FACE}
  %key = or i64 %place, %top
  %known = icmp ne i32 %face, 0
  %r = select i1 %known, i64 %key, i64 0
  ret i64 %r
}}

; The slot of a load of %size bytes at real %ra, null when it was not learned.
define internal ptr @learned_load(ptr %cpu, {ra} %ra, i32 %size) nounwind {{
  %key = call i64 @move_key(ptr %cpu, {ra} %ra, i32 %size)
  %known = icmp ne i64 %key, 0
  br i1 %known, label %look, label %none
look:
  %slot = call ptr @move_slot(ptr %cpu, i64 %key, i64 0, i1 false)
  ret ptr %slot
none:
  ret ptr null
}}

; Carries out a store that was learned; whether it was.
define internal i1 @learned_store(ptr %cpu, {ra} %ra, i64 %value, i32 %size) nounwind {{
  %key = call i64 @move_key(ptr %cpu, {ra} %ra, i32 %size)
  %known = icmp ne i64 %key, 0
  br i1 %known, label %look, label %none
look:
  %skey = or i64 %key, {MOVE_STORE}
  %slot = call ptr @move_slot(ptr %cpu, i64 %skey, i64 %value, i1 false)
  %have = icmp ne ptr %slot, null
  br i1 %have, label %go, label %is_data
go:
  call void @go_on_to(ptr %cpu, ptr %slot)
  ret i1 true
is_data:
  %dkey = or i64 %skey, {MOVE_DATA}
  %dslot = call ptr @move_slot(ptr %cpu, i64 %dkey, i64 0, i1 false)
  %is = icmp ne ptr %dslot, null
{field("data_count", "count", "i32")}
  %room = icmp ult i32 %count, {DATA_SLOTS}
  %may = and i1 %is, %room
  br i1 %may, label %note, label %none
note:
{field("data", "data", "ptr")}
  %cw = zext i32 %count to i64
  %o = shl i64 %cw, 4
  %at = getelementptr i8, ptr %data, i64 %o
{w.wide("rw", "ra")}
  store i64 %rw, ptr %at{TB_TLB}
  %vp = getelementptr i8, ptr %at, i64 8
  store i64 %value, ptr %vp{TB_TLB}
  %c1 = add i32 %count, 1
{store("data_count", "i32", "%c1")}
  call void @go_on_to(ptr %cpu, ptr %dslot)
  ret i1 true
none:
  ret i1 false
}}

; Takes the face and the level of a slot; a level that rose is looked at at the next boundary.
define internal void @go_on_to(ptr %cpu, ptr %slot) nounwind {{
  %tp = getelementptr i8, ptr %slot, i64 24
  %then = load i64, ptr %tp{TB_TLB}
  %face = trunc i64 %then to i32
{store("face", "i32", "%face")}
{store("news", "i32", "1")}
  %high = lshr i64 %then, 32
  %flags = trunc i64 %high to i8
  %level = and i8 %flags, {MOVE_LEVEL}
  %lp = getelementptr i8, ptr %cpu, i64 {w.offset_of("irq") + Irq.EXTERNAL}
  %was = load i8, ptr %lp{TB_CPU}
  %same = icmp eq i8 %was, %level
  br i1 %same, label %out, label %moved
moved:
  store i8 %level, ptr %lp{TB_CPU}
{field("msr", "msr", ea)}
  %eeb = and {ea} %msr, {MSR_EE}
  %ee = icmp ne {ea} %eeb, 0
  %up = icmp ne i8 %level, 0
  %due = and i1 %ee, %up
  br i1 %due, label %ask, label %out
ask:
{field("exit_request", "asked", "i32")}
  %also = or i32 %asked, {IRQ_EXIT}
{store("exit_request", "i32", "%also")}
  br label %out
out:
  ret void
}}
"""


#: `exit_request` was seen: at entry %e, or at NIA with %K what is left of the budget.  Where there
#: is nothing but an interrupt to take, and budget is left, so that no alarm is due, it is taken
#: here; what the run loop would do at this boundary is the same.
def irqs(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
{handler("h_asked_at")}
  %nia = call {ea} @cia_of(ptr %cpu, ptr %e)
{store("nia", ea, "%nia")}
  %here = ptrtoint ptr %e to i64
  %left = sub i64 %K, %here
{tail("h_asked", "null", "%left")}
}}
{handler("h_asked")}
  %taken = call i1 @take_irq(ptr %cpu, i64 %K)
  br i1 %taken, label %on, label %out
on:
{tail("h_jump", "null")}
out:
{tail("h_exit_pc", "null")}
}}

; Takes what is pending at NIA, if the run loop would do nothing else; false: the run loop does it.
define internal i1 @take_irq(ptr %cpu, i64 %left) nounwind noinline {{
{field("exit_request", "asked", "i32")}
{field("takes_irqs", "may", "i32")}
{field("irq", "irq", "i64")}
{field("msr", "msr", ea)}
{field("break_count", "breaks", "i32")}
{field("watch_count", "watches", "i32")}
  %only = icmp eq i32 %asked, {IRQ_EXIT}
  %some = icmp sgt i64 %left, 0
  %allowed = icmp ne i32 %may, 0
  %other = and i64 %irq, {~_OWN}
  %plain = icmp eq i64 %other, 0
  %traced = and {ea} %msr, {MSR_POW | MSR_SE | MSR_BE}
{w.shrink("traced")}
  %stops = or i32 %breaks, %watches
  %busy = or i32 {w.as_("traced")}, %stops
  %free = icmp eq i32 %busy, 0
  %a = and i1 %only, %some
  %b = and i1 %allowed, %plain
  %c = and i1 %a, %b
  %good = and i1 %c, %free
  br i1 %good, label %look, label %no
look:
{store("exit_request", "i32", "0")}
  %eeb = and {ea} %msr, {MSR_EE}
  %ee = icmp ne {ea} %eeb, 0
  %due = icmp ne i64 %irq, 0
  %take = and i1 %ee, %due
  br i1 %take, label %which, label %yes
which:
{field("nia", "nia", ea)}
  %eb = and i64 %irq, {0xFF << 8 * Irq.EXTERNAL}
  %external = icmp ne i64 %eb, 0
  br i1 %external, label %enter, label %edge
edge:
  %dp = getelementptr i8, ptr %cpu, i64 {w.offset_of("irq") + Irq.DECREMENTER}
  store i8 0, ptr %dp{TB_CPU}
  br label %enter
enter:
  %vector = phi {ea} [ {int(Interrupt.EXTERNAL)}, %which ], [ {int(Interrupt.DECREMENTER)}, %edge ]
  call void @enter(ptr %cpu, {ea} %vector, {ea} %nia, {ea} 0)
  br label %yes
yes:
  ret i1 true
no:
  ret i1 false
}}
"""
