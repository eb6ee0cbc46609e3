"""Whole runs: stretches, exact steps, and what happens at a boundary that needs no Python.

The decrementer is written often for an interrupt soon (Linux replays interrupts that way).  A run
knows when it expires: it makes the exception pending at its instruction, as the CPU's alarm would,
and Python moves that alarm when it is next here (`timer_moved`).  All other alarms, and a
decrementer written before this run, end the run's budget.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import NS_PER_S
from gossamer.engine.context import EFFECT_CODES, IRQ_EXIT, TIMER_EXIT
from gossamer.engine.emit import TB_CPU
from gossamer.engine.runtime_fields import Text
from gossamer.isa.interrupts import Irq

_CODE: Final = EFFECT_CODES["timer"]


def timer(w: Text) -> str:
    field, store, ea = w.field, w.store, w.ea
    return f"""
; Works out when DEC expires next, as seen after %count instructions.
define internal void @plan_timer(ptr %cpu, i64 %count) nounwind noinline {{
{field("base_count", "from", "i64")}
{field("base_ns", "base", "i64")}
{field("rate", "rate", "i64")}
{field("tb_hz", "hz", "i64")}
{field("dec_zero", "zero", "i64")}
  %done = sub i64 %count, %from
  %scaled = mul i64 %done, %rate
  %passed = lshr i64 %scaled, 20
  %now = add i64 %base, %passed
  %s = udiv i64 %now, {NS_PER_S}
  %s_ns = mul i64 %s, {NS_PER_S}
  %rest = sub i64 %now, %s_ns
  %t1 = mul i64 %s, %hz
  %t2 = mul i64 %rest, %hz
  %t3 = udiv i64 %t2, {NS_PER_S}
  %ticks = add i64 %t1, %t3
  %difference = sub i64 %zero, %ticks
  %left = and i64 %difference, {0xFFFF_FFFF}
  %before = add i64 %ticks, %left
  %tick = add i64 %before, 1
  ; The first ns at which that tick has come.
  %d = udiv i64 %tick, %hz
  %d_ticks = mul i64 %d, %hz
  %more = sub i64 %tick, %d_ticks
  %m1 = mul i64 %more, {NS_PER_S}
  %m2 = add i64 %m1, %hz
  %m3 = sub i64 %m2, 1
  %m4 = udiv i64 %m3, %hz
  %d_ns = mul i64 %d, {NS_PER_S}
  %when = add i64 %d_ns, %m4
{store("dec_when", "i64", "%when")}
{store("timer_moved", "i32", "1")}
{store("news", "i32", "1")}
  ; The first count at which virtual time is that.
  %ahead = sub i64 %when, %base
  %future = icmp sgt i64 %ahead, 0
  %a1 = select i1 %future, i64 %ahead, i64 0
  %a2 = shl i64 %a1, 20
  %a3 = add i64 %a2, %rate
  %a4 = sub i64 %a3, 1
  %a5 = udiv i64 %a4, %rate
  %at = add i64 %from, %a5
{store("dec_count", "i64", "%at")}
  ret void
}}

; DEC or the time base was written by the instruction that `current_left` is of.
define internal void @effect_timer(ptr %cpu) nounwind noinline {{
{field("takes_irqs", "own", "i32")}
  %mine = icmp ne i32 %own, 0
  br i1 %mine, label %plan, label %ask
ask:
  call void @effect_python(ptr %cpu, i32 {_CODE}, i32 0)
  ret void
plan:
{field("end_count", "end", "i64")}
{field("current_left", "left", "i64")}
  %n = ashr i64 %left, 4
  %count = sub i64 %end, %n
  call void @plan_timer(ptr %cpu, i64 %count)
{field("dec_count", "at", "i64")}
{field("run_limit", "limit", "i64")}
  %within = icmp slt i64 %at, %limit
  %again = select i1 %within, i32 {TIMER_EXIT}, i32 0
  call void @ask_if_due(ptr %cpu)
{field("exit_request", "asked", "i32")}
  %also = or i32 %asked, %again
{store("exit_request", "i32", "%also")}
  ret void
}}

; Asks for a look at interrupts where one is pending that MSR lets through.
define internal void @ask_if_due(ptr %cpu) nounwind {{
{field("msr", "msr", ea)}
{field("irq", "irq", "i64")}
  %mask = call i64 @enabled_sources({ea} %msr)
  %pending = and i64 %irq, %mask
  %some = icmp ne i64 %pending, 0
{field("exit_request", "asked", "i32")}
  %why = select i1 %some, i32 {IRQ_EXIT}, i32 0
  %also = or i32 %asked, %why
{store("exit_request", "i32", "%also")}
  ret void
}}
"""


#: `drive(cpu, start, slice)`: executes from instruction count `start` (`run_limit` - that many) to
#: the limit, or until something is asked for that Python has to see to, in stretches of `slice` at
#: the most.  The first goes to `next_look`; a look that is overdue comes up to 1,024 instructions
#: later, so that it is not always where interrupts are taken.  At the end `end_count` is the count
#: that was reached.
def drive(w: Text) -> str:
    field, store = w.field, w.store
    return f"""
define void @drive(ptr %cpu, i64 %start, i64 %slice) nounwind {{
entry:
  br label %loop
loop:
  %count = phi i64 [ %start, %entry ], [ %count, %taken ], [ %reached, %ran ]
{field("run_limit", "limit", "i64")}
{field("exit_request", "asked0", "i32")}
  %asked1 = and i32 %asked0, {~TIMER_EXIT}
{store("exit_request", "i32", "%asked1")}
  %more = icmp slt i64 %count, %limit
  br i1 %more, label %timer, label %out
timer:
{field("dec_count", "dec0", "i64")}
  %expired = icmp sle i64 %dec0, %count
  br i1 %expired, label %expire, label %look
expire:
  %dp = getelementptr i8, ptr %cpu, i64 {w.offset_of("irq") + Irq.DECREMENTER}
  store i8 1, ptr %dp{TB_CPU}
  call void @plan_timer(ptr %cpu, i64 %count)
  call void @ask_if_due(ptr %cpu)
  br label %look
look:
{field("exit_request", "asked", "i32")}
  %quiet = icmp eq i32 %asked, 0
  br i1 %quiet, label %go, label %irq
irq:
  %took = call i1 @take_irq(ptr %cpu, i64 1)
  br i1 %took, label %taken, label %out
taken:
  br label %loop
go:
{field("dec_count", "dec", "i64")}
  %stop = call i64 @llvm.smin.i64(i64 %limit, i64 %dec)
{field("slack", "slack", "i64")}
  %rest = sub i64 %stop, %count
  %far = icmp sgt i64 %rest, %slack
  br i1 %far, label %stretch, label %exact
stretch:
  %most = sub i64 %rest, %slack
{field("next_look", "look_at", "i64")}
  %due = sub i64 %look_at, %count
  %passed = icmp sle i64 %due, 0
  %over = sub i64 0, %due
  %part = and i64 %over, 1023
  %soon = add i64 %part, 1
  %want = select i1 %passed, i64 %soon, i64 %due
  %piece = call i64 @llvm.smin.i64(i64 %want, i64 %slice)
  %first = call i64 @llvm.smin.i64(i64 %most, i64 %piece)
  %then = add i64 %count, %first
{store("end_count", "i64", "%then")}
  %after = sub i64 %most, %first
  %after16 = shl i64 %after, 4
{store("more", "i64", "%after16")}
  %first16 = shl i64 %first, 4
  call void @run(ptr %cpu, i64 %first16)
  br label %ran
exact:
{store("end_count", "i64", "%stop")}
  call void @step(ptr %cpu, i64 %rest)
  br label %ran
ran:
{field("end_count", "end", "i64")}
{field("left", "left", "i64")}
  %n = ashr i64 %left, 4
  %reached = sub i64 %end, %n
  br label %loop
out:
{store("end_count", "i64", "%count")}
{store("left", "i64", "0")}
{store("current_left", "i64", "0")}
  ret void
}}
"""
