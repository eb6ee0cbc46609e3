"""Hypercalls that native code answers, and those that it asks Python for.

What they do is said by bodies (`cpu.table_calls`, `cpu.terminal_calls`); here they are kept apart,
translations of pages that went are forgotten, and what a terminal prints waits in the list of data
stores until Python runs next (`Tier0._settle`).
"""

from __future__ import annotations

from gossamer.cpu.table_calls import (
    GONE,
    H_BULK_REMOVE,
    H_ENTER,
    H_PROTECT,
    H_REMOVE,
    MOST,
    SUCCESS,
)
from gossamer.cpu.terminal_calls import FIRST_CHARACTERS, H_GET_TERM_CHAR, H_PUT_TERM_CHAR, LENGTH
from gossamer.engine.context import CALL_DATA, DATA_SLOTS, EFFECT_CODES
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import Text


def hypercalls(w: Text) -> str:
    """``effect_hypercall(cpu)``, of models with a hypervisor."""
    return _calls(w) + _terminal(w) if w.ea == "i64" else ""


def _calls(w: Text) -> str:
    field = w.field
    return f"""
; The hypervisor is asked: answered here, or by Python, which may change all that
; the CPU has.
define internal void @effect_hypercall(ptr %cpu) nounwind {{
{field("call_memory", "memory", "i64")}
  %some = icmp ne i64 %memory, 0
  br i1 %some, label %own, label %ask
own:
  %done = call i1 @answer_call(ptr %cpu, i64 %memory)
  br i1 %done, label %out, label %ask
ask:
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["hypercall"]}, i32 0)
  br label %out
out:
  ret void
}}
; Answers the call that the registers hold; false: it is Python's.
define internal i1 @answer_call(ptr %cpu, i64 %memory) nounwind {{
entry:
{field("table_mask", "mask", "i64")}
  %half = lshr i64 %mask, 1
  %entries = add i64 %half, 1
  %at = getelementptr i8, ptr %cpu, i64 {w.offset_of("gpr") + 3 * 8}
  %number = load i64, ptr %at{TB_CPU}
  switch i64 %number, label %no [ i64 {H_ENTER}, label %enter
    i64 {H_REMOVE}, label %remove
    i64 {H_PROTECT}, label %protect
    i64 {H_BULK_REMOVE}, label %bulk
    i64 {H_PUT_TERM_CHAR}, label %put
    i64 {H_GET_TERM_CHAR}, label %get ]
enter:
  %entered = call i64 @call_enter(ptr %cpu, i64 %memory, i64 %entries)
  br label %one
remove:
  %removed = call i64 @call_remove(ptr %cpu, i64 %entries)
  br label %one
protect:
  %protected = call i64 @call_protect(ptr %cpu, i64 %entries)
  br label %one
one:
  %outcome = phi i64 [ %entered, %enter ], [ %removed, %remove ], [ %protected, %protect ]
  call void @forget_gone(ptr %cpu, i64 %outcome)
  %answered = trunc i64 %outcome to i1
  ret i1 %answered
bulk:
  %usual = call i1 @call_bulk_is_usual(ptr %cpu, i64 %entries)
  br i1 %usual, label %each, label %no
each:
  %k = phi i32 [ 0, %bulk ], [ %k1, %next ]
  %each_one = call i64 @call_bulk_remove(ptr %cpu, i32 %k)
  call void @forget_gone(ptr %cpu, i64 %each_one)
  %asked = trunc i64 %each_one to i1
  br i1 %asked, label %next, label %all
next:
  %k1 = add i32 %k, 1
  %more = icmp ult i32 %k1, {MOST}
  br i1 %more, label %each, label %all
all:
  store i64 {SUCCESS}, ptr %at{TB_CPU}
  ret i1 true
put:
  %printed = call i1 @put_characters(ptr %cpu)
  ret i1 %printed
get:
{field("call_silent", "silent", "i32")}
  %silence = icmp ne i32 %silent, 0
  br i1 %silence, label %nothing, label %no
nothing:
{field("call_unit", "unit", "i64")}
  %none = call i1 @call_get_nothing(ptr %cpu, i64 %unit)
  ret i1 %none
no:
  ret i1 false
}}
; Forgets the page of an entry that went, as an outcome says (`cpu.table_calls`).
define internal void @forget_gone(ptr %cpu, i64 %outcome) nounwind {{
  %bit = and i64 %outcome, {GONE}
  %gone = icmp ne i64 %bit, 0
  br i1 %gone, label %forget, label %out
forget:
  %ea = trunc i64 %outcome to i32
  call void @forget_page(ptr %cpu, i32 %ea)
  %page = zext i32 %ea to i64
  call void @note(ptr %cpu, i64 %page)
  br label %out
out:
  ret void
}}
"""


def _terminal(w: Text) -> str:
    field, store, gpr = w.field, w.store, w.offset_of("gpr")
    return f"""
; Answers an H_PUT_TERM_CHAR whose characters may wait, and for which there is room.
define internal i1 @put_characters(ptr %cpu) nounwind noinline {{
{field("call_waits", "wait", "i32")}
{field("data_count", "count", "i32")}
  %may = icmp ne i32 %wait, 0
  %room = icmp ult i32 %count, {DATA_SLOTS - 1}
  %good = and i1 %may, %room
  br i1 %good, label %ask, label %no
ask:
{field("call_unit", "unit", "i64")}
  %usual = call i1 @call_put_is_usual(ptr %cpu, i64 %unit)
  br i1 %usual, label %note, label %no
note:
  %lp = getelementptr i8, ptr %cpu, i64 {gpr + 8 * LENGTH}
  %length = load i64, ptr %lp{TB_CPU}
  %short = icmp ule i64 %length, 8
  %less = sub i64 %length, 8
  %first = select i1 %short, i64 %length, i64 8
  %second = select i1 %short, i64 0, i64 %less
  call void @note_characters(ptr %cpu, i64 %first, i64 {gpr + 8 * FIRST_CHARACTERS})
  call void @note_characters(ptr %cpu, i64 %second, i64 {gpr + 8 * FIRST_CHARACTERS + 8})
{store("news", "i32", "1")}
  ret i1 true
no:
  ret i1 false
}}
; Lets the first %length bytes of the register at %offset wait for Python.
define internal void @note_characters(ptr %cpu, i64 %length, i64 %offset) nounwind {{
  %some = icmp ne i64 %length, 0
  br i1 %some, label %note, label %out
note:
{field("data_count", "count", "i32")}
{field("data", "data", "ptr")}
  %cw = zext i32 %count to i64
  %o = shl i64 %cw, 4
  %at = getelementptr i8, ptr %data, i64 %o
  %place = or i64 %length, {CALL_DATA - (1 << 64)}
  store i64 %place, ptr %at{TB_TLB}
  %vp = getelementptr i8, ptr %at, i64 8
  %rp = getelementptr i8, ptr %cpu, i64 %offset
  %value = load i64, ptr %rp{TB_CPU}
  store i64 %value, ptr %vp{TB_TLB}
  %c1 = add i32 %count, 1
{store("data_count", "i32", "%c1")}
  br label %out
out:
  ret void
}}
"""
